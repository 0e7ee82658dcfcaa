import { existsSync } from "node:fs";
import { ModelError } from "../errors.ts";
import { builtinModels } from "../registry.ts";
import { type CatalogueEntry, catalogue } from "./catalogue.ts";
import { pullFromCatalogue } from "./from-catalogue.ts";
import { pullFromHub } from "./from-hub.ts";
import { pullFromPath } from "./from-path.ts";
import { parseReference } from "./reference.ts";
import type { PulledModel, PullOptions } from "./types.ts";

/**
 * Gets a model into the cache folder, where its name finds it from then on, with or without a network. `what` is a name of
 * the catalogue, else a path on this machine, else a model on a hub (`org/name[@revision][:file]`). A model appears whole
 * and with the right checksums, or not at all.
 * @throws ModelError "model_not_found" saying what can be pulled; else see pullFromCatalogue, pullFromHub, pullFromPath
 */
export async function pull(
  what: string,
  options: PullOptions = {},
  entries: readonly CatalogueEntry[] = catalogue,
): Promise<PulledModel> {
  const entry = entries.find((candidate) => candidate.name === what);
  if (entry && options.name === undefined) return pullFromCatalogue(entry, options);
  if (options.from !== undefined) {
    throw new ModelError(
      "file_invalid",
      "--from goes with a name of the catalogue; a model's path can be pulled itself",
    );
  }
  if (what !== "" && existsSync(what)) return pullFromPath(what, options);
  if (options.name !== undefined) {
    throw new ModelError("file_invalid", `--name goes with a path, and there is no file or folder ${what}`);
  }
  const reference = parseReference(what);
  if (reference) return pullFromHub(reference, options);
  const names = entries.map((candidate) => candidate.name).join(", ");
  throw new ModelError(
    "model_not_found",
    builtinModels.includes(what)
      ? `${what} is built in and needs no pulling`
      : `no model "${what}" can be pulled; there is ${names}, any path, and org/name[@revision][:file] of a hub`,
  );
}
