import { type LoggerInterface, parse, type Spec, View } from "vega";

/** A Vega specification as SVG, drawn without a browser. */
export async function toSvg(spec: Spec): Promise<string> {
  const view = new View(parse(spec), { renderer: "none", logger: strict });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** What vega would log and go on after is a fault of ours. */
const strict: LoggerInterface = {
  level: () => strict,
  error(...problem: unknown[]) {
    throw problem.find((part) => part instanceof Error) ?? new Error(problem.join(" "));
  },
  warn(...problem: unknown[]) {
    throw new Error(problem.join(" "));
  },
  info: () => strict,
  debug: () => strict,
};

/** Colours of families of variants: those that are ours first. */
export const colours: Readonly<Record<string, string>> = {
  dense: "#555555",
  onnx: "#999999",
  default: "#d1495b",
  sparq: "#d1495b",
  window: "#3d7ea6",
  exact: "#66a182",
  random: "#b39ddb",
  h2o: "#edae49",
};

export function familyOf(variant: string): string {
  return variant.split(":")[0]!;
}

/** Scale of the families that are there, for marks and for a legend. */
export function familyScale(variants: readonly string[]) {
  const families = [...new Set(variants.map(familyOf))];
  return {
    name: "colour",
    type: "ordinal" as const,
    domain: families,
    range: families.map((family) => colours[family] ?? "#333333"),
  };
}
