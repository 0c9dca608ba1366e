// What the simulator reads of a manifest: system-text.js MANIFEST
import { loadManifest } from '../../dist/manifest/plan.js';
import { SCALE, systemText } from '../../dist/planning/sim-system.js';

process.stdout.write(systemText(loadManifest(process.argv[2]).plan, SCALE));
