import type { Spec } from "vega";
import { compareFigures } from "../compare/figures.ts";
import type { BenchRecord } from "../record/record.ts";
import { serveFigures } from "../serve/figures.ts";
import { sweepFigures } from "../sweep/figures.ts";
import { throughputFigures } from "../throughput/figures.ts";

/** A picture of a record. */
export interface Figure {
  /** Part of the SVG file's name. */
  readonly id: string;
  readonly caption: string;
  readonly spec: Spec;
}

/** The pictures of each benchmark that has any, by the record's `bench`. */
export const figuresOf: Readonly<Record<string, (record: BenchRecord) => readonly Figure[]>> = {
  sweep: sweepFigures,
  throughput: throughputFigures,
  serve: serveFigures,
  compare: compareFigures,
};
