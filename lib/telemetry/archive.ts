// An archive of a system: a tar file with its segment as it was, so that whatever reads a segment reads an archive
// as well, and what else was known of it then.
import { VanityError } from '../errors.js';

const BLOCK = 512;
/** The member that is the segment, byte for byte. */
export const SEGMENT_MEMBER = 'segment';
const FILES_MAX = 10_000;

export interface Member {
  readonly name: string;
  readonly content: Uint8Array;
}

/** A tar file (POSIX.1-1988 ustar) that any tar unpacks. */
export function packArchive(members: readonly Member[], seconds: number): Uint8Array {
  const padded = ({ content }: Member) => Math.ceil(content.byteLength / BLOCK) * BLOCK;
  const total = members.reduce((sum, member) => sum + BLOCK + padded(member), 2 * BLOCK);
  const archive = new Uint8Array(total);
  let at = 0;
  for (const member of members) {
    archive.set(header(member, seconds), at);
    archive.set(member.content, at + BLOCK);
    at += BLOCK + padded(member);
  }
  return archive;
}

function header({ name, content }: Member, seconds: number): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => block.set(new TextEncoder().encode(text), at);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, '0');
  put(0, name);
  put(100, '0000644\0');
  put(108, '0000000\0');
  put(116, '0000000\0');
  put(124, `${octal(content.byteLength, 11)}\0`);
  put(136, `${octal(seconds, 11)}\0`);
  put(148, '        ');
  put(156, '0');
  put(257, 'ustar\x0000');
  const sum = block.reduce((all, byte) => all + byte, 0);
  put(148, `${octal(sum, 6)}\0 `);
  return block;
}

/** The members of an archive. Every byte is untrusted. Throws VANITY_E_ARCHIVE. */
export function unpackArchive(archive: Uint8Array): Member[] {
  const refuse = (problem: string): never => {
    throw new VanityError('VANITY_E_ARCHIVE', { problem });
  };
  const members: Member[] = [];
  for (let at = 0; at + BLOCK <= archive.byteLength; ) {
    const block = archive.subarray(at, at + BLOCK);
    if (block.every((byte) => byte === 0)) return members;
    const text = (from: number, bytes: number) =>
      new TextDecoder().decode(block.subarray(from, from + bytes)).replace(/\0.*$/s, '');
    if (text(257, 5) !== 'ustar') refuse(`no header of a tar file at byte ${at}`);
    const sum = block.reduce((all, byte, i) => all + (i >= 148 && i < 156 ? 32 : byte), 0);
    if (Number.parseInt(text(148, 8), 8) !== sum) refuse(`a wrong checksum at byte ${at}`);
    const size = Number.parseInt(text(124, 12), 8);
    if (!(size >= 0) || at + BLOCK + size > archive.byteLength) refuse('it is cut off');
    if (members.length === FILES_MAX) refuse(`more than ${FILES_MAX} members`);
    const start = at + BLOCK;
    members.push({ name: text(0, 100), content: archive.slice(start, start + size) });
    at = start + Math.ceil(size / BLOCK) * BLOCK;
  }
  return refuse('it is cut off');
}
