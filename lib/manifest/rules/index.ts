import type { Model } from '../model.js';
import { channelRules } from './channels.js';
import { coreRules } from './cores.js';
import { deviceRules } from './devices.js';
import { isolationRules } from './isolation.js';
import { nameRules } from './names.js';
import { portRules } from './ports.js';
import { programRules } from './programs.js';
import { protectionKeyRules } from './protection-keys.js';

/** Every rule that a schema cannot say; those about programs come after those that know who is joined. */
export function applyRules(model: Model): void {
  for (const rules of [
    nameRules,
    coreRules,
    channelRules,
    portRules,
    programRules,
    deviceRules,
    isolationRules,
    protectionKeyRules,
  ])
    rules(model);
}
