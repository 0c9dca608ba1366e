export function doctorCommand(_options: { json?: boolean }): number {
  return 0;
}
