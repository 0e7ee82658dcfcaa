import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { HISTORY_SECONDS, type Point } from "./use-stats.ts";

export interface PlotProps {
  /** What it shows, for those who do not see it. */
  readonly label: string;
  readonly points: readonly Point[];
  readonly value: (point: Point) => number | null;
  /** The y axis always reaches this far. */
  readonly reach: number;
  readonly format: (value: number) => string;
  /** Name of the style sheet's colour. */
  readonly colour: string;
}

const HEIGHT = 112;
const darkScheme = "(prefers-color-scheme: dark)";

/** The last two minutes of one number. */
export function Plot({ label, points, value, reach, format, colour }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = useRef<uPlot.AlignedData>([[], []]);
  const now = points.at(-1)?.at ?? 0;
  data.current = [points.map(({ at }) => (at - now) / 1000), points.map(value)];

  useEffect(() => {
    const host = box.current!;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(host, { reach, format, colour }), data.current, host);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current!.setSize({ width: host.clientWidth, height: HEIGHT }));
    resized.observe(host);
    // A canvas does not follow the style sheet by itself.
    const scheme = matchMedia(darkScheme);
    scheme.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      scheme.removeEventListener("change", draw);
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data.current), [points]);

  return <div class="plot" ref={box} role="img" aria-label={label} />;
}

function optionsOf(
  host: HTMLElement,
  { reach, format, colour }: Pick<PlotProps, "reach" | "format" | "colour">,
): uPlot.Options {
  const style = getComputedStyle(host);
  const stroke = style.getPropertyValue(colour).trim();
  const axis: uPlot.Axis = {
    stroke: style.getPropertyValue("--muted").trim(),
    font: `11px ${style.fontFamily}`,
    grid: { stroke: style.getPropertyValue("--line").trim(), width: 1 },
    ticks: { show: false },
  };
  // A value between two gaps has no line; the others need no points.
  const alone = (values: uPlot.AlignedData[1], i: number) =>
    values[i] != null && values[i - 1] == null && values[i + 1] == null;
  const points: uPlot.Series.Points = {
    size: 4,
    fill: stroke,
    filter: (self) => [...self.data[0].keys()].filter((i) => alone(self.data[1]!, i)),
  };
  return {
    width: host.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 16, 0, 0],
    scales: {
      x: { time: false, range: [-HISTORY_SECONDS, 0] },
      y: { range: (_, __, most) => [0, Math.max(reach, (most ?? 0) * 1.1)] },
    },
    axes: [
      { ...axis, size: 22, gap: 4, splits: () => [-120, -60, 0], values: () => ["2 min ago", "1 min", "now"] },
      { ...axis, size: 40, gap: 4, space: 28, values: (_, splits) => splits.map(format) },
    ],
    series: [{}, { stroke, fill: `${stroke}22`, width: 1.75, points, spanGaps: false }],
  };
}
