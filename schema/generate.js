// Writes schema/vanity.schema.json from the schema of the manifest. Run after the build of lib/.
import { writeFileSync } from 'node:fs';
import { jsonSchema } from '../dist/manifest/schema.js';

const file = new URL('vanity.schema.json', import.meta.url);
writeFileSync(file, `${JSON.stringify(jsonSchema(), null, 2)}\n`);
