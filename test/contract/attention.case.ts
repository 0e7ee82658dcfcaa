import type { NativeKvStore } from "../../attention/types.ts";
import type { AttentionImplementation } from "./attention-fixture.ts";
import { describeInvariance } from "./attention-invariance.case.ts";
import { describeRanks } from "./attention-ranks.case.ts";
import { describeSelection } from "./attention-selection.case.ts";
import { describeValues } from "./attention-values.case.ts";

/** What every implementation of the attention must satisfy; the kernels, in addition, must equal the reference. */
export function describeAttention<Store extends NativeKvStore>(implementation: AttentionImplementation<Store>): void {
  if (implementation.name !== "reference") describeValues(implementation);
  describeSelection(implementation);
  describeInvariance(implementation);
  describeRanks(implementation);
}
