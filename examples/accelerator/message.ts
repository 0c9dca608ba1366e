// Requests and answers, 64 bytes each; accelerator.cpp has the same as a struct. Words of 32 bits, then data:
//
//   | operation | id | value | bytes | 48 bytes of data |
//
// A factorial is asked with `value` and answered in `value`; a copy is asked with `bytes` of data and answered with
// what came back from the device. An answer has the request's id, and REFUSED for what cannot be done.
export const OPERATION = 0;
export const ID = 1;
export const VALUE = 2;
export const BYTES = 3;
export const DATA_AT = 16;
export const DATA_BYTES = 48;

export const FACTORIAL = 1;
export const COPY = 2;
export const REFUSED = 3;
