/** How llama.cpp names the files of a model in several: "llama-00002-of-00003.gguf", from 1 on. */
const pattern = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

export interface PartName {
  /** What stands before the numbers, folders included. */
  readonly stem: string;
  readonly number: number;
  readonly count: number;
}

/** What a file's name or path says of its place among others; undefined if it says nothing. */
export function partName(path: string): PartName | undefined {
  const [, stem, number, count] = pattern.exec(path) ?? [];
  return stem === undefined ? undefined : { stem, number: Number(number), count: Number(count) };
}

export function partPath({ stem, number, count }: PartName): string {
  const digits = (value: number) => String(value).padStart(5, "0");
  return `${stem}-${digits(number)}-of-${digits(count)}.gguf`;
}

/** All parts of the model that a path is a part of, the path itself if it is none. */
export function partPaths(path: string): string[] {
  const named = partName(path);
  if (!named) return [path];
  return Array.from({ length: named.count }, (_, i) => partPath({ ...named, number: i + 1 }));
}

/** The name without numbers and ending: "llama" of "llama-00002-of-00003.gguf" and of "llama.gguf". */
export function ggufStem(path: string): string {
  return partName(path)?.stem ?? path.replace(/\.gguf$/, "");
}

/** Of the parts of each model only the first that is there: one path for each model among paths of GGUF files. */
export function withoutFurtherParts<Item>(items: readonly Item[], pathOf: (item: Item) => string): Item[] {
  const first = new Map<string, Item>();
  for (const item of [...items].sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1))) {
    const named = partName(pathOf(item));
    const key = named ? `${named.stem} ${named.count}` : pathOf(item);
    if (!first.has(key)) first.set(key, item);
  }
  const kept = new Set(first.values());
  return items.filter((item) => kept.has(item));
}
