export interface BenchOptions {
  rounds?: string;
  quick?: boolean;
  json?: boolean;
}
export async function benchCommand(
  _name: string | undefined,
  _options: BenchOptions,
): Promise<number> {
  return 0;
}
