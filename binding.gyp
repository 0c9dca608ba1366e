# What ships: `npm run build:native` and prebuildify. CMakeLists.txt builds the same from the same lists.
{
  'target_defaults': {
    'include_dirs': ['native/include', 'native'],
    'defines': ['VANITY_VERSION="<!(node -p "require(\'./package.json\').version")"'],
    'cflags!': ['-fno-exceptions'],
    'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
    'cflags_cc': ['-std=c++20', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden', '-fvisibility-inlines-hidden'],
    'libraries': ['-ldl', '-lpthread']
  },
  'targets': [{
    # The parts that the addon and the process of a shard have in common: all of native/ but native/addon.
    'target_name': 'vanity_core',
    'type': 'static_library',
    'sources': ["<!@(grep '^native/' native/sources.txt | grep -v '^native/addon/')"]
  }, {
    'target_name': 'vanity',
    'sources': ["<!@(grep '^native/addon/' native/sources.txt)"],
    'dependencies': ['vanity_core'],
    'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")"],
    'defines': [
      'NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED', 'NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS'
    ],
    # nodelete: Node closes the addon when a worker ends, while native threads still run in it.
    # static-libstdc++: a prebuild must not ask for the libstdc++ of the machine that built it.
    # exports.map: Node asks for two symbols; nobody else is to see any, not even of the C++ library.
    'ldflags': [
      '-Wl,-z,nodelete', '-Wl,--version-script=<(module_root_dir)/native/addon/exports.map',
      '-static-libstdc++'
    ]
  }, {
    # Whole systems under the simulator: native/sim/system. A program of its own, with the same sources once more.
    'target_name': 'vanity-sim',
    'type': 'executable',
    'sources': ["<!@(grep '^native/' native/sim/system/sources.txt)"],
    'defines': ['VANITY_SIM'],
    # Modules are to find what exports.map has, and no other C++ library than their own.
    'cflags_cc!': ['-fvisibility=hidden', '-fvisibility-inlines-hidden'],
    'cflags_cc': ['-O2'],
    'ldflags!': ['-rdynamic'],
    'ldflags': [
      '-static-libstdc++', '-static-libgcc', '-Wl,--build-id',
      '-Wl,--dynamic-list=<(module_root_dir)/native/sim/system/exports.map'
    ]
  }, {
    # The process of a shard with isolation = "process": native/process, and what of the core it needs.
    'target_name': 'vanity-shard',
    'type': 'executable',
    'sources': ['native/process/main.cpp'],
    'dependencies': ['vanity_core'],
    # Modules find nothing here: they bring their own C++ library, or the system's.
    'ldflags!': ['-rdynamic'],
    'ldflags': ['-static-libstdc++', '-Wl,--build-id']
  }]
}
