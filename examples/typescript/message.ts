// What `connections.ts` says of a new connection: four words of 32 bits.
//
//   | client address | server address | server port | bytes of the SYN |
export const CLIENT = 0;
export const SERVER = 1;
export const PORT = 2;
export const BYTES = 3;
