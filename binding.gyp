{
  'targets': [{
    'target_name': 'vanity',
    'sources': ["<!@(grep -v '^#' native/sources.txt)"],
    'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")", 'native/include', 'native'],
    'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED', 'NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS'],
    'cflags!': ['-fno-exceptions'],
    'cflags_cc!': ['-fno-exceptions', '-std=gnu++17', '-std=gnu++20'],
    'cflags_cc': ['-std=c++20', '-O3', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden', '-fvisibility-inlines-hidden'],
    'libraries': ['-ldl', '-lpthread'],
    'ldflags': ['-Wl,-z,nodelete', '-Wl,--exclude-libs,ALL']
  }]
}
