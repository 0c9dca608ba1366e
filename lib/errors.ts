/**
 * Every error that Vanity reports on purpose, in one table.
 *
 * A row is a message template and a hint template; `{words}` are filled in by whoever raises it. The
 * native core raises the same codes with its own wording (`vanity::Error`), and a test holds both this
 * table and `docs/reference/errors.md` against it.
 */

export interface ErrorRow {
  /** What was expected and what was found. */
  readonly message: string;
  /** What to type. */
  readonly hint: string;
  /** The exit code of the command that ends with it; 1 unless the row says otherwise. */
  readonly exitCode?: number;
}

export const errors = {
  // -- the command line
  VANITY_E_USAGE: { message: '{problem}', hint: 'Type: vanity --help', exitCode: 2 },
  VANITY_E_INTERNAL: {
    message: 'this is a defect of Vanity itself: {problem}',
    hint: 'Please report it with the manifest and the output of: vanity doctor --json',
  },

  // -- the package
  VANITY_E_NATIVE_LOAD: {
    message: 'the native addon cannot be loaded: {reason}\n{found}',
    hint: '{hint}',
  },

  // -- reading a manifest
  VANITY_E_MANIFEST_READ: {
    message: 'cannot read the manifest {file}: {reason}',
    hint: 'Give the path of an existing TOML file: vanity check path/to/vanity.toml',
  },
  VANITY_E_MANIFEST_SIZE: {
    message: 'the manifest {file} has more than {limit} bytes',
    hint: 'Split the system in two manifests, or remove what is generated into this one.',
  },
  VANITY_E_MANIFEST_KIND: {
    message: 'the manifest {file} is not TOML; a TypeScript manifest is an object for the API',
    hint: 'Give a .toml file here; pass what defineManifest() returns to the TypeScript API.',
  },
  VANITY_E_TOML: { message: 'not valid TOML: {problem}', hint: '{hint}' },
  VANITY_E_DUPLICATE: {
    message: '{key} is defined twice',
    hint: 'Keep one of the two, or give one another name.',
  },
  VANITY_E_SET: {
    message: '--set {text}: {problem}',
    hint: 'Type: --set section.name.key=value, for example --set ports.in.file=other.pcap',
    exitCode: 2,
  },
  VANITY_E_KEY_UNKNOWN: { message: 'unknown key "{key}" in {where}', hint: '{hint}' },
  VANITY_E_KEY_MISSING: {
    message: '{where} needs the key "{key}": {expects}',
    hint: 'Add to {where}: {line}',
  },
  VANITY_E_VALUE: { message: '{path} must be {expects}; it is {found}', hint: '{hint}' },
  VANITY_E_NAME: {
    message: '"{name}" is no name for a {kind}: {problem}',
    hint: 'Use 1 to 31 of a-z, 0-9 and "-", starting with a letter or digit, for example "{example}".',
  },
  VANITY_E_LIMIT: {
    message: '{what}: {count} declared, at most {limit} are possible',
    hint: '{hint}',
  },

  // -- cores
  VANITY_E_CORE_CLASH: {
    message: '{first} and {second} both want core {core}',
    hint: 'Give one of them another core or core = "auto", or set oversubscribe = true in [system].',
  },
  VANITY_E_CORES: {
    message: '{shards} shards need {needed} free cores; this machine offers {available} ({online})',
    hint: 'Use fewer shards, or set oversubscribe = true in [system] (or: --set system.oversubscribe=true).',
  },
  VANITY_E_CORE_ABSENT: {
    message: '{who} wants core {core}, which is not online here (online: {online})',
    hint: 'Use core = "auto" or one of {online} (or: --set {path}={example}).',
  },

  // -- channels
  VANITY_E_SHARD_UNKNOWN: {
    message: '{who} names the shard "{shard}", which is not declared',
    hint: '{hint}',
  },
  VANITY_E_CHANNEL_SELF: {
    message: 'channel "{channel}" goes from shard "{shard}" to itself',
    hint: 'A channel joins two shards: name another shard in "from" or "to".',
  },
  VANITY_E_CHANNEL_FAN: {
    message: 'shard "{shard}" has {count} channels {direction}; at most {limit} are possible',
    hint: 'Put a shard between that gathers some of them, or let several shards share the work.',
  },
  VANITY_E_BLOCK_CYCLE: {
    message: 'channels with overflow = "block" form a cycle that can wait for itself: {cycle}',
    hint: 'Give one of them, for example [channels.{channel}], overflow = "drop" or overflow = "program".',
  },
  VANITY_E_ELEMENT_BYTES: {
    message:
      'channel "{channel}" carries packets and sets element_bytes; a descriptor is always {bytes} bytes',
    hint: 'Remove element_bytes, or set carries = "messages".',
  },
  VANITY_E_WATERMARK: { message: 'channel "{channel}": {problem}', hint: '{hint}' },
  VANITY_E_PRIMARY: { message: 'shard "{shard}": {problem}', hint: '{hint}' },

  // -- programs
  VANITY_E_PROGRAM_UNKNOWN: {
    message:
      'shard "{shard}" runs "{program}", which is neither a built-in nor a .so, .js, .mjs or .ts file',
    hint: '{hint}',
  },
  VANITY_E_PROGRAM_FILE: {
    message: 'shard "{shard}": program file {file} {problem}',
    hint: 'Build it, or correct the path; it is relative to the folder of the manifest.',
  },
  VANITY_E_PROGRAM_ENDS: { message: 'shard "{shard}" runs {program}, {problem}', hint: '{hint}' },
  VANITY_E_PROGRAM_MESSAGES: {
    message:
      'channel "{channel}" carries messages and is joined to shard "{shard}", whose program {program} handles packets',
    hint: 'Set carries = "packets" in [channels.{channel}], or run your own program in [shards.{shard}].',
  },
  VANITY_E_ISOLATION: {
    message: 'shard "{shard}" cannot be a process of its own: {problem}',
    hint: '{hint}',
  },
  VANITY_E_ISOLATION_PKEY: {
    message: 'shard "{shard}" cannot be confined by a protection key: {problem}',
    hint: '{hint}',
  },
  VANITY_E_OPTION_UNKNOWN: {
    message: 'shard "{shard}": {program} has no option "{option}"',
    hint: '{hint}',
  },
  VANITY_E_OPTION_VALUE: {
    message: 'shard "{shard}": option {option} of {program} must be {expects}; it is {found}',
    hint: 'Type: options = {{ {option} = {example} }}',
  },
  VANITY_E_OPTION_MISSING: {
    message: 'shard "{shard}": {program} needs the option "{option}", {expects}',
    hint: 'Add to [shards.{shard}]: options = {{ {option} = {example} }}',
  },

  // -- ports
  VANITY_E_PORT_ENDS: { message: 'port "{port}" {problem}', hint: '{hint}' },
  VANITY_E_PORT_KEY: {
    message:
      'port "{port}": the key "{key}" belongs to driver = "{owner}"; this port has driver = "{driver}"',
    hint: 'Remove {key}, or set driver = "{owner}".',
  },
  VANITY_E_PORT_FILE: { message: 'port "{port}": {file} {problem}', hint: '{hint}' },
  VANITY_E_PORT_CLASH: { message: 'ports "{first}" and "{second}" both {what}', hint: '{hint}' },
  VANITY_E_PORT_DEVICE: { message: 'port "{port}": device "{device}" {problem}', hint: '{hint}' },
  VANITY_E_PORT_RING: { message: 'port "{port}": {problem}', hint: '{hint}' },
  VANITY_E_PORT_PEER: { message: 'port "{port}": {problem}', hint: '{hint}' },

  // -- devices
  VANITY_E_DEVICE_KEY: {
    message:
      'device "{device}": {key} is for programs; driver = "{driver}" is granted what it needs',
    hint: 'Remove {key}; vanity check prints the grants. For a program of your own: driver = "vfio".',
  },
  VANITY_E_DEVICE_IDLE: {
    message: 'device "{device}" has driver = "{driver}", and no port names it',
    hint: 'Add [ports.NAME] with driver = "device" and device = "{device}", or remove it.',
  },
  VANITY_E_DEVICE_TWICE: {
    message:
      'devices "{first}" and "{second}" are both {pci}, and the driver of a NIC has it alone',
    hint: 'Remove one of the two, or set driver = "vfio" for both.',
  },
  VANITY_E_GRANT_OVERLAP: {
    message: 'two grants of {pci} BAR {bar} overlap: {first} and {second}',
    hint: 'Make the ranges disjoint, for example offset = {example} for the later one.',
  },
  VANITY_E_VECTOR_OWNER: {
    message: 'vector {vector} of {pci} is granted twice, to {first} and to {second}',
    hint: 'A vector has one owner: remove one of the two, or use another vector.',
  },
  VANITY_E_TRIGGER: { message: '{where}: {problem}', hint: '{hint}' },
  VANITY_E_DMA: { message: '{where}: {problem}', hint: '{hint}' },

  // -- devices of this host
  VANITY_E_DEVICE_SELECTOR: {
    message: '"{text}" names no PCI device',
    hint: 'Type an address (0000:01:00.0, 01:00.0), vendor:device (8086:10d3), mac=, serial= or slot=; vanity device list shows them.',
    exitCode: 2,
  },
  VANITY_E_DEVICE_NONE: { message: 'no PCI device of this host is "{text}"', hint: '{hint}' },
  VANITY_E_DEVICE_MANY: {
    message: '"{text}" means several devices: {matches}',
    hint: 'Name one by its address, for example {example}',
  },
  VANITY_E_DEVICE_KIND: {
    message: '{pci} is a {kind}, which VFIO does not hand out',
    hint: 'Name a device behind it: vanity device list',
  },
  VANITY_E_DEVICE_IN_USE: {
    message: '{pci} is in use: {uses}',
    hint: 'End that use first. To take the device all the same: sudo vanity device bind {pci} --force',
  },
  VANITY_E_DEVICE_BUSY: {
    message: '{pci} is open in {processes}; it must be closed there first',
    hint: 'Stop that process first, for example: kill {pid}',
  },
  VANITY_E_DEVICE_DRIVER: { message: '{pci}: {problem}', hint: '{hint}' },
  VANITY_E_DEVICE_RIGHTS: {
    message: 'only root may change the driver of a device: {path}: {reason}',
    hint: 'Type: sudo vanity device {command} {pci}',
  },
  VANITY_E_DEVICE_LOCKED: {
    message: 'another process has been changing drivers of devices for a long time',
    hint: 'See which: sudo fuser -v /sys/bus/pci/drivers_probe',
  },
  VANITY_E_LOCK: { message: 'a lock cannot be had: {reason}', hint: 'Check rights and mounts.' },
  VANITY_E_DEVICE_RECORD: {
    message: 'the record of the driver before, {path}, cannot be {what}: {reason}',
    hint: '{hint}',
  },
  VANITY_E_DEVICE_NIC: {
    message: '{pci} is nothing for driver = "{driver}": {problem}',
    hint: '{hint}',
  },
  VANITY_E_DEVICE_BACKEND: {
    message: '{pci} cannot be had with backend = "{backend}": there is no {absent}',
    hint: 'Type: backend = "auto", or use a kernel with {option}.',
  },
  VANITY_E_IOMMU: { message: '{pci} has no IOMMU in front of it: {problem}', hint: '{hint}' },
  VANITY_E_GROUP: {
    message: 'IOMMU group {group} of {pci} has other owners: {others}',
    hint: '{hint}',
  },
  VANITY_E_VFIO: { message: 'vfio-pci cannot be had: {reason}', hint: '{hint}' },
  VANITY_E_BAR: { message: '{where}: {problem}', hint: '{hint}' },
  VANITY_E_VECTOR: { message: '{where}: {problem}', hint: '{hint}' },
  VANITY_E_PAGES: {
    message: 'memory for DMA needs {needed} huge pages of {size}; {free} are free',
    hint: 'Type: {line}',
  },
  VANITY_E_MEMLOCK: {
    message: 'memory for DMA takes {bytes} of locked memory; the limit of this process is {limit}',
    hint: 'Type: sudo prlimit --pid $$ --memlock={needed}:{needed}',
  },

  // -- reading a running system
  VANITY_E_SEGMENT_INVALID: {
    message: 'not a readable segment: {problem}',
    hint: 'Name a running system, or the path of its *.segment file, of the version that this build reads.',
  },
  VANITY_E_SEGMENT_BOOTING: {
    message: 'the system is still booting; its segment is not complete yet',
    hint: 'Try again in a moment.',
  },
  VANITY_E_SYSTEM_NONE: {
    message: 'no system is running ({directory} holds no live segment)',
    hint: 'Start one in another terminal: vanity run path/to/vanity.toml',
  },
  VANITY_E_SYSTEM_UNKNOWN: {
    message: 'no system called "{name}" is running; {found}',
    hint: '{hint}',
  },
  VANITY_E_SYSTEM_MANY: {
    message: 'several systems are running: {names}',
    hint: 'Name one, for example: vanity {command} {example}',
  },
  VANITY_E_SYSTEM_STALE: {
    message: 'the system "{name}" is gone: process {pid} ended without removing {path}',
    hint: 'Nothing to do: the next vanity run removes what it left behind.',
  },
  VANITY_E_ARCHIVE: {
    message: 'not an archive of a system: {problem}',
    hint: 'Name a file that vanity dump has written.',
  },
  VANITY_E_SHARD_NONE: {
    message: 'the system "{system}" has no shard "{shard}"',
    hint: 'Its shards: {shards}.',
  },
  VANITY_E_COMMAND: {
    message: '{problem}',
    hint: 'Use the vanity that runs this system.',
  },
  VANITY_E_COMMAND_LATE: {
    message: 'shard "{shard}" has not followed within {ms} ms: {what}',
    hint: 'The word stands, and the shard follows at its next turn. Look at it: vanity top {system}',
  },
  VANITY_E_CHANNEL_NONE: {
    message: 'the system "{system}" has no channel "{channel}"',
    hint: 'Its channels: {channels}.',
  },
  VANITY_E_CONTENTS: {
    message: '{problem}',
    hint: '{hint}',
  },
  VANITY_E_TRACE: {
    message: '{problem}',
    hint: '{hint}',
  },
  VANITY_E_RELOAD: {
    message: 'shard "{shard}": {problem}',
    hint: '{hint}',
  },
  VANITY_E_RELOAD_BUSY: {
    message: 'another reload of this system is under way',
    hint: 'Wait until it is over.',
  },
  VANITY_E_RELOAD_STATE: {
    message: 'the new program cannot take over the state of the old one: {difference}',
    hint: 'Keep the fields, or give the new program a migrate().',
  },
  VANITY_E_RELOAD_FAULT: {
    message: 'the new program faulted before it took over: {problem}',
    hint: 'The old one goes on; mend the new one.',
  },
  VANITY_E_RELOAD_LATE: {
    message: 'shard "{shard}" could not be switched: {problem}',
    hint: '{hint}',
  },
  VANITY_E_RELOAD_UNDONE: {
    message: 'the new program is not well: {problem}',
    hint: 'The old one goes on with its state; mend the new one.',
  },
  VANITY_E_APPLY: {
    message: '{part} "{name}": {problem}',
    hint: '{hint}',
  },
  VANITY_E_APPLY_STATE: {
    message: 'no manifest can be applied to the system "{system}": {problem}',
    hint: 'Start it with the manifest: vanity run path/to/vanity.toml',
  },
  VANITY_E_APPLY_UNWELL: {
    message: 'shard "{shard}" is worse than it was: {what} {before} -> {after}',
    hint: 'The manifest before is in force; look at the warnings of the system, and at: vanity trace --fault',
  },
  VANITY_E_APPLY_INTERRUPTED: {
    message: 'it was interrupted before it was confirmed',
    hint: 'The manifest before is in force; wait less long with: --confirm 1',
  },
  VANITY_E_APPLY_STUCK: {
    message: 'shard "{shard}" could not be brought back: {problem}',
    hint: 'It goes on with the new program: reload one that can take over from it, or restart the system.',
  },
  VANITY_E_RELOAD_BUDGET: {
    message:
      'shard "{shard}" stood still for {pause} us, {budget} us were allowed; the new program runs',
    hint: 'Hand on less state, or allow more: --budget-us {example}',
  },
  VANITY_E_METRICS_ADDRESS: {
    message: 'no address to serve metrics on: "{address}"',
    hint: 'Type a port, or a host and a port: --metrics :9464, --metrics 0.0.0.0:9464, --metrics [::1]:9464',
  },
  VANITY_E_METRICS_BIND: {
    message: 'cannot serve metrics on {address}: {reason}',
    hint: 'Use a free port, for example: --metrics :{example}',
  },

  // -- planning
  VANITY_E_HOST_MODEL_READ: {
    message: 'there is no host model "{name}"; there are: {names}',
    hint: 'Give one of these names, or the path of a TOML file of your own; hosts/README.md says what is in it.',
  },
  VANITY_E_HOST_MODEL: {
    message: 'the host model is not right: {problem}',
    hint: 'Each number is written like this: wake_ns = { value = 900, source = "assumed" }',
  },
  VANITY_E_FORECAST: {
    message: 'no forecast: {problem}',
    hint: 'Type: vanity sim --help',
  },

  // -- benches
  VANITY_E_BENCH_UNKNOWN: { message: 'no bench is called "{name}"', hint: '{hint}' },
  VANITY_E_BENCH_SOURCES: {
    message: 'the benches are built from the source tree, which is not here: {path} is missing',
    hint: 'Clone the repository and run it there: npm ci && npx vanity bench',
  },
  VANITY_E_BENCH_FAILED: {
    message: 'bench {name}: {problem}',
    hint: 'Run it again with VANITY_DEBUG=1, and see what the build or the bench itself printed above.',
  },

  // -- wake latency
  VANITY_E_WAKE_PAIR: { message: '{problem}', hint: '{hint}', exitCode: 2 },
  VANITY_E_WAKE_MECHANISM: { message: '{problem}', hint: '{hint}', exitCode: 2 },
  VANITY_E_WAKE_SPEC: {
    message: 'a visit of a wake bench is not well-formed: {problem}',
    hint: 'Type: vanity bench wake --quick',
  },
  VANITY_E_WAKE_NOTHING: { message: 'nothing can be measured: {problem}', hint: '{hint}' },
  VANITY_E_WAKE_REPORT: {
    message: '{path} is no report of vanity bench wake that can be read: {problem}',
    hint: '{hint}',
  },
  VANITY_E_WAKE_WORKER: {
    message: 'the JavaScript reference {mechanism} failed: {problem}',
    hint: 'Leave it out: vanity bench wake --mechanisms spin,futex',
  },
  VANITY_E_OUTPUT: {
    message: '{option} {path} cannot be written: {reason}',
    hint: 'Give a file in a folder that exists and that you may write: {option} {example}',
  },

  // -- the host, as the native core finds it; it brings its own words, these are the general ones
  VANITY_E_WAIT_UNAVAILABLE: {
    message: 'the way to wait that was asked for cannot be had on this host: {reason}',
    hint: 'Type: wait = "auto"; vanity doctor lists what this host can do.',
  },
  VANITY_E_WAKE_BUSY: {
    message: 'this process measures already, and two visits would disturb one another',
    hint: 'Await the one before, or call abort().',
  },
  VANITY_E_CORE_PIN: {
    message: 'a thread cannot be pinned to core {core}: {reason}',
    hint: 'List the cores that this process may use: taskset -cp $$',
  },
  VANITY_E_CORE_IN_USE: {
    message: 'core {core} is owned by another Vanity process ({process})',
    hint: 'Choose another core, or stop that system.',
  },
  VANITY_E_FIFO: {
    message: 'SCHED_FIFO at priority {priority} was refused: {reason}',
    hint: 'Run as root, or: ulimit -r {priority}, or set fifo = 0 for this shard.',
  },
  VANITY_E_MEMORY: {
    message: 'no memory for what was asked for: {reason}',
    hint: 'Give the shards smaller arenas and the ports fewer buffers, or the machine more memory.',
  },
  VANITY_E_HUGE_PAGES: {
    message: 'the pages that [system] huge_pages demands cannot be had: {reason}',
    hint: 'Type: huge_pages = "auto", or reserve them: echo 64 | sudo tee /proc/sys/vm/nr_hugepages',
  },
  VANITY_E_POOL: {
    message: 'a pool of {buffers} buffers of {bytes} bytes is beyond the limits',
    hint: 'buffers: 64 to 1048576; buffer_bytes: 256 to 65536, a multiple of 64.',
  },
  VANITY_E_NAME_IN_USE: {
    message: 'a system named "{name}" is running in process {process}',
    hint: 'Stop it, or start this one with another name: --set system.name={name}-2',
  },
  VANITY_E_RUNTIME_DIR: {
    message: 'the runtime directory {directory} cannot be used: {reason}',
    hint: 'Set VANITY_RUNTIME_DIR to a folder on a tmpfs that you may write.',
  },
  VANITY_E_SEGMENT: {
    message: 'the segment {path} cannot be read: {reason}',
    hint: 'Is the system running? List what is: vanity stats',
  },

  // -- programs and ports, as the native core finds them
  VANITY_E_PROGRAM: {
    message: 'no built-in program is called "{program}"',
    hint: 'Type the name of a built-in; docs/reference/manifest.md lists them.',
  },
  VANITY_E_OPTION: {
    message: 'option {option} = "{value}" is not what the program expects: {expects}',
    hint: 'Correct options = {{ … }} of the shard.',
  },
  VANITY_E_PROGRAM_LOAD: {
    message: 'the program {file} cannot be loaded: {reason}',
    hint: 'Build it as a shared object for this machine: cc -shared -fPIC -O2',
  },
  VANITY_E_PROGRAM_ABI: {
    message: 'the program {file} was built for another ABI: {reason}',
    hint: "Compile it again with this version's include/vanity/program.h.",
  },
  VANITY_E_PROGRAM_INIT: {
    message: 'a program failed to start: {reason}',
    hint: "Look at the program's own messages above.",
  },
  VANITY_E_PROGRAM_FAULT: {
    message: 'shard {shard}: its program faulted {count} times and was given up',
    hint: 'The warnings above say where.',
  },
  VANITY_E_PROGRAM_THREW: {
    message: 'shard {shard}: its program threw: {reason}',
    hint: 'The stack above says where; poll() must not throw.',
  },
  VANITY_E_TYPESCRIPT: {
    message: 'the program {file} is TypeScript, which this Node ({version}) does not run by itself',
    hint: 'Type: npm install --save-dev typescript (or use Node 22.18 or later, or give a .js file)',
  },
  VANITY_E_PORT_DRIVER: {
    message: 'port {port}: no driver is called {driver}',
    hint: 'Type: driver = "capture" or driver = "af_packet"',
  },
  VANITY_E_CAPTURE_OPEN: {
    message: 'the capture {file} cannot be read: {reason}',
    hint: 'Correct [ports.NAME] file, or type: --set ports.NAME.file=other.pcap',
  },
  VANITY_E_CAPTURE_SIZE: {
    message: 'the capture {file} is larger than the limit: {bytes} bytes',
    hint: 'Cut it into pieces: editcap -c 1000000 in.pcap out.pcap',
  },
  VANITY_E_CAPTURE_FORMAT: {
    message: 'the capture {file} is damaged or no capture: {reason}',
    hint: 'Give a pcap or pcapng file; what it is says: file in.pcap',
  },
  VANITY_E_CAPTURE_LINKTYPE: {
    message: 'the capture {file} holds packets that are not Ethernet: {reason}',
    hint: 'Capture on an Ethernet interface, not on "any".',
  },
  VANITY_E_CAPTURE_WRITE: {
    message: 'the capture {file} cannot be written: {reason}',
    hint: 'Create its folder, or correct [ports.NAME] write.',
  },
  // -- a system as it boots, runs and stops, as the native core finds it
  VANITY_E_CORE_MISSING: {
    message: '{who}: core {core} is not there for this process',
    hint: 'Use core = "auto", or list the cores that this process may use: taskset -cp $$',
  },
  VANITY_E_CORE_TWICE: {
    message: '{who}: core {core} has another shard already',
    hint: 'Give each its own core, or set [system] oversubscribe = true.',
  },
  VANITY_E_PLAN: {
    message: 'the plan of a system is not well-formed: {problem}',
    hint: 'Start from what loadManifest() or planManifest() gives, through resolveCores().',
  },
  // -- the simulator
  VANITY_E_SIM_BUILD: {
    message:
      'there is no policy build of the runtime, which the scheduler of `vanity sim` runs on; looked for: {places}',
    hint: '{hint}',
  },
  VANITY_E_SIM_PROGRAM: {
    message:
      'shard "{shard}" runs TypeScript, {program}: the simulator decides the steps of built-in programs and native modules only',
    hint: 'Give the shard a built-in program (--set shards.{shard}.program=forward), run it hosted (vanity run --sim threads), or forecast it (vanity sim --model).',
  },
  VANITY_E_SIM_MODULE: {
    message: 'the policy build of the module that shard "{shard}" runs, {file}: {problem}',
    hint: '{hint}',
  },
  VANITY_E_SIM_REPRO: {
    message: '{file} cannot be replayed: {problem}',
    hint: 'Give a .repro file that `vanity sim` has kept.',
    exitCode: 2,
  },
  VANITY_E_SIM_FILE: {
    message: 'a file of the simulator: {problem}',
    hint: 'Give a path that can be read, or a folder that can be written to.',
    exitCode: 2,
  },
  VANITY_E_SIM_ENDED: {
    message: 'the simulator ended before it said what it found: {how}',
    hint: 'Please report it with the manifest and the seed.',
  },

  VANITY_E_SYSTEM: {
    message: 'the operating system refused what a system needs: {reason}',
    hint: 'Raise the limits of processes and files: ulimit -u, ulimit -n',
  },
  VANITY_E_PROTECTION_KEYS: {
    message: 'a shard is to be confined by a protection key, and none can be had: {reason}',
    hint: 'Run it as a thread, or as a process of its own: isolation = "process". What this host has: vanity doctor',
  },
  VANITY_E_PROCESS: {
    message: 'the process of a shard could not be started: {reason}',
    hint: 'It runs vanity-shard, which is built beside the addon: npm run build:native',
  },
  VANITY_E_BOOT_TIMEOUT: {
    message: 'not ready in time: {shards}',
    hint: "Look for an endless loop in the program's init.",
  },
  VANITY_E_DRAIN: {
    message: 'not drained after {ms} ms: {shards}',
    hint: 'Raise [kernel] drain_ms, or look at what keeps those shards from emptying their inputs.',
  },
  VANITY_E_STUCK: {
    message: 'did not stop: {shards}',
    hint: 'The poll() of its program does not return: look there.',
  },
  VANITY_E_BUFFER_LEAK: {
    message: 'buffers did not come home: {pools}',
    hint: 'A program keeps or forgets packets: every one ends in vanity_send, vanity_free or vanity_discard.',
  },
  VANITY_E_PORT: {
    message: 'a port ended with an error: {reason}',
    hint: 'Look at its file or interface; vanity stats shows its counters.',
  },
  VANITY_E_PORT_INTERFACE: {
    message: 'port {port}: the interface {interface} cannot be used: {reason}',
    hint: 'List the interfaces: ip -br link',
  },
  VANITY_E_PORT_PERMISSION: {
    message: 'port {port}: AF_PACKET needs the capability CAP_NET_RAW',
    hint: 'Run as root, or: sudo setcap cap_net_raw+ep $(command -v node)',
  },
  VANITY_E_PORT_SOCKET: {
    message: 'port {port}: a packet socket cannot be set up: {reason}',
    hint: 'Use fewer or smaller buffers in [ports.{port}].',
  },
  // -- devices, as the native core finds them
  VANITY_E_VFIO_DRIVER: {
    message: '{address} is with the driver {driver}; it must be with vfio-pci',
    hint: 'Type: sudo vanity device bind {address}',
  },
  VANITY_E_VFIO_PERMISSION: {
    message: 'this user may not open {node}',
    hint: 'Type: sudo chown $USER {node}',
  },
  VANITY_E_VFIO_KERNEL: {
    message: 'the kernel refused what a device needs: {reason}',
    hint: "Look at what it says: dmesg | grep -iE 'vfio|DMAR|iommu'",
  },
  VANITY_E_VFIO_IOVA: {
    message: 'no {bytes} of DMA addresses below 2^{bits}; the largest gap there has {largest}',
    hint: 'Use fewer or smaller dma regions for this device, or more bits if it has them.',
  },
  VANITY_E_VFIO_ACCESS: {
    message:
      'an access to {bytes} bytes at offset {offset} is not inside the {granted} bytes granted',
    hint: 'Grant the range in the manifest (mmio of the device), or correct the driver.',
  },
  VANITY_E_NO_LIBPCAP: {
    message: 'program = "filter" needs libpcap, which cannot be loaded: {reason}',
    hint: 'Install it: sudo apt-get install libpcap0.8',
  },
  VANITY_E_FILTER_SYNTAX: {
    message: 'the filter "{expression}" is not understood: {reason}',
    hint: 'See the syntax: man 7 pcap-filter',
  },
} as const satisfies Record<`VANITY_E_${string}`, ErrorRow>;

/** Things worth saying that stop nothing. */
export const warnings = {
  VANITY_W_OVERSUBSCRIBED: {
    message: '{shards} shards share {cores} cores: {who}',
    hint: 'Figures of an oversubscribed system measure the scheduler; give every shard its own core for real ones.',
  },
  VANITY_W_FIFO_SHARED: {
    message:
      'shard "{shard}" has fifo = {fifo} in a system with oversubscribe = true: while it polls, no other shard of its core runs',
    hint: 'Remove fifo, or give the shard its own core and remove oversubscribe.',
  },
  VANITY_W_KERNEL_CORE: {
    message: 'shard "{shard}" runs on core {core}, which is the kernel\'s',
    hint: 'Use fewer shards, or set core = "any" in [kernel].',
  },
  VANITY_W_OUTPUT_UNUSED: {
    message: 'shard "{shard}" runs {program}, which uses its first output only; it has {count}',
    hint: 'Remove the others, or put a shard with program = "mirror" or program = "flow-split" behind it.',
  },
  VANITY_W_SHARD_ALONE: {
    message: 'shard "{shard}" has no channel, port or grant',
    hint: 'Join it by a channel: [channels.NAME] from = "{shard}", or remove it.',
  },
  VANITY_W_EOI: {
    message:
      '{where}: eoi = "immediate" with trigger = "level": a line that is still high fires again at once, and storms',
    hint: 'Type: eoi = "delayed", or remove eoi; the program then ends the interrupt once the device let go of the line.',
  },
  // -- devices of this host
  VANITY_W_DEVICE_DRIVER: {
    message: '{pci} is driven by {driver}, not by vfio-pci',
    hint: 'Type: sudo vanity device bind {pci}',
  },
  VANITY_W_NIC_VECTORS: {
    message:
      'port "{port}": {pci} has {vectors} for {queues} receive queues, so {polled} of them can only be polled',
    hint: 'Have {most} of them in rx, or type: interrupts = false',
  },
  VANITY_W_DEVICE_HIDDEN: {
    message: '{pci} shows its capabilities to root only, so its vectors are not checked',
    hint: 'Type: sudo vanity check --host {file}',
  },
  // -- as the native core finds them at boot
  VANITY_W_CORE_NOT_ISOLATED: {
    message: '{who}: core {core} is not isolated, so other threads may take it away',
    hint: 'Boot Linux with isolcpus={core} nohz_full={core} rcu_nocbs={core}',
  },
  VANITY_W_HUGE_PAGES: {
    message: 'an arena got smaller pages than could be: {reason}',
    hint: 'Reserve some: echo 512 | sudo tee /proc/sys/vm/nr_hugepages',
  },
  VANITY_W_NOT_LOCKED: {
    message: 'memory could not be locked, so it may be paged out',
    hint: 'Raise the limit: ulimit -l unlimited',
  },
  // -- and while it runs
  VANITY_W_PORT_PEER: {
    message: 'port "{port}": nobody is at the other end of its socket: {problem}',
    hint: 'The system runs without it, and looks again every second.',
  },
  VANITY_W_SHARD_STALLED: {
    message: 'shard {shard}: no turn ended for {ms} ms: {finding}',
    hint: 'Look at it: vanity top; hold it: vanity hold.',
  },
  VANITY_W_SHARD_SLOW: {
    message: 'shard {shard}: its turn takes longer than {us} us: {finding}',
    hint: 'Look at it: vanity top; hold it: vanity hold.',
  },
  VANITY_W_SHARD_STARVED: {
    message:
      'shard {shard}: {count} elements of channel {channel} wait for more than {ms} ms: {finding}',
    hint: 'Look at it: vanity top; hold it: vanity hold.',
  },
  VANITY_W_RELOAD_UNDONE: {
    message: 'the new program is not well: {problem}',
    hint: 'The old one goes on with its state; mend the new one.',
  },
  VANITY_W_SHARD_FAULT: {
    message: 'shard {shard}: its program was left: {evidence}; {what}',
    hint: 'Mend the program; nobody else was harmed.',
  },
  VANITY_W_IRQ_STORM: {
    message: 'device {device}, vector {vector}, shard {shard}: {count} interrupts in {time} us',
    hint: 'Acknowledge the device before the line is unmasked: eoi = "delayed", and irq_done() after it',
  },
  VANITY_W_DEVICE_WANTED: {
    message: 'device {name} ({pci}): Linux wants it back; it is stopped and given back',
    hint: 'To have it again, bind it and start the system anew',
  },
  VANITY_W_DEVICE_LOST: {
    message: 'device {name} ({pci}) failed, or is gone; it is stopped and given up',
    hint: "Look at what the kernel says: dmesg | grep -iE 'vfio|pcieport|AER'",
  },
} as const satisfies Record<`VANITY_W_${string}`, ErrorRow>;

export type ErrorCode = keyof typeof errors;
export type WarningCode = keyof typeof warnings;
export type Parameters = Readonly<Record<string, string | number>>;

/** A place in a manifest, or the `--set` that took its place. Lines and columns count from 1. */
export interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
  /** The text of line `line`, for the excerpt. */
  readonly source: string;
  /** `key=value` when the value came from `--set`. */
  readonly set?: string;
}

/** A second place that an error is about. */
export interface Related {
  readonly message: string;
  readonly location: Location;
}

export interface Warning {
  readonly code: WarningCode;
  readonly message: string;
  readonly hint: string;
  readonly location?: Location;
}

/** Fills `{words}`; `{{` and `}}` stand for braces. */
export function fill(template: string, parameters: Parameters): string {
  return template.replace(/\{\{|\}\}|\{(\w+)\}/g, (match, word: string | undefined) => {
    if (word === undefined) return match.charAt(0);
    const value = Object.hasOwn(parameters, word) ? parameters[word] : undefined;
    return value === undefined ? match : String(value);
  });
}

export interface VanityErrorOptions {
  readonly location?: Location | undefined;
  readonly related?: readonly Related[];
  readonly cause?: unknown;
}

function rowOf(code: string): ErrorRow | undefined {
  return Object.hasOwn(errors, code) ? errors[code as ErrorCode] : undefined;
}

/** An error with a code of the table, a hint that says what to type, and the place when it has one. */
export class VanityError extends Error {
  override readonly name: string = 'VanityError';
  readonly code: string;
  readonly hint: string;
  readonly location?: Location;
  readonly related: readonly Related[];
  readonly exitCode: number;

  constructor(code: ErrorCode, parameters: Parameters = {}, options: VanityErrorOptions = {}) {
    const row: ErrorRow = rowOf(code) ?? errors.VANITY_E_INTERNAL;
    super(
      fill(row.message, parameters),
      options.cause === undefined ? {} : { cause: options.cause },
    );
    this.code = code;
    this.hint = fill(row.hint, parameters);
    this.exitCode = row.exitCode ?? 1;
    this.related = options.related ?? [];
    if (options.location) this.location = options.location;
  }

  /** The error that the native core raised, with its own words; anything else becomes INTERNAL. */
  static from(error: unknown): VanityError {
    if (error instanceof VanityError) return error;
    const { code, message, hint } = (error ?? {}) as {
      code?: unknown;
      message?: unknown;
      hint?: unknown;
    };
    if (typeof code === 'string' && rowOf(code)) {
      const result = new VanityError(code as ErrorCode, {}, { cause: error });
      Object.defineProperty(result, 'message', {
        value: String(message),
        configurable: true,
        writable: true,
      });
      Object.defineProperty(result, 'hint', {
        value: typeof hint === 'string' && hint !== '' ? hint : plain(result.hint),
        enumerable: true,
      });
      return result;
    }
    const problem = error instanceof Error ? error.message : String(error);
    return new VanityError('VANITY_E_INTERNAL', { problem }, { cause: error });
  }
}

// A hint whose words nobody filled in is worse than none.
function plain(hint: string): string {
  return /\{\w+\}/.test(hint) ? '' : hint;
}

export function warn(code: WarningCode, parameters: Parameters = {}, location?: Location): Warning {
  const row = warnings[code];
  const base = { code, message: fill(row.message, parameters), hint: fill(row.hint, parameters) };
  return location ? { ...base, location } : base;
}
