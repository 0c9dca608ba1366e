// Writes the schemas of this folder from those of lib/. Run after the build of lib/.
import { writeFileSync } from 'node:fs';
import { jsonSchema } from '../dist/manifest/schema.js';
import { wakeJsonSchema } from '../dist/wake/schema.js';

const schemas = { 'vanity.schema.json': jsonSchema(), 'wake.schema.json': wakeJsonSchema() };
for (const [name, schema] of Object.entries(schemas)) {
  writeFileSync(new URL(name, import.meta.url), `${JSON.stringify(schema, null, 2)}\n`);
}
