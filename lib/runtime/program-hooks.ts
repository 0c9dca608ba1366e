// Hooks of Node's module loader, for Nodes that don't strip types: a .ts file is compiled in memory, file by
// file, under the rules that type stripping has (verbatimModuleSyntax), so that it behaves the same there.
import { readFile } from 'node:fs/promises';
import type { LoadHook } from 'node:module';
import { fileURLToPath } from 'node:url';
import type typescript from 'typescript';

let ts: typeof typescript;

export async function initialize(data: { typescript: string }): Promise<void> {
  const module = (await import(data.typescript)) as { default: typeof typescript };
  ts = module.default;
}

export const load: LoadHook = async (url, context, next) => {
  if (!url.startsWith('file:') || !new URL(url).pathname.endsWith('.ts')) return next(url, context);
  const fileName = fileURLToPath(url);
  const { outputText, diagnostics = [] } = ts.transpileModule(await readFile(fileName, 'utf8'), {
    fileName,
    reportDiagnostics: true,
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2022,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
    },
  });
  const [first] = diagnostics;
  if (first) {
    const at = first.file?.getLineAndCharacterOfPosition(first.start ?? 0);
    const place = at ? `${fileName}:${at.line + 1}:${at.character + 1}` : fileName;
    throw new SyntaxError(`${place}: ${ts.flattenDiagnosticMessageText(first.messageText, '\n')}`);
  }
  return { format: 'module', source: outputText, shortCircuit: true };
};
