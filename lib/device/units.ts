const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** 4 KiB, 64 MiB, 1.5 GiB: in the largest unit that is at least one. */
export function bytesText(bytes: number): string {
  let unit = 0;
  let size = bytes;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${Number.isInteger(size) ? size : size.toFixed(1)} ${UNITS[unit]}`;
}

export const hex = (n: number | bigint) => `0x${n.toString(16)}`;

/** Text of a device or a file system as a terminal can show it. */
export const shown = (text: string) => text.replace(/\p{Cc}/gu, '?');
