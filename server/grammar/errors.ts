/** A grammar that cannot be had: a schema that is wrong or asks for what is not supported; `path` says where in it. */
export class GrammarError extends Error {
  override readonly name: string = "GrammarError";
  /** As in "properties.age.minimum"; empty for the whole. */
  readonly path: string;

  constructor(path: string, message: string) {
    super(path === "" ? message : `${path}: ${message}`);
    this.path = path;
  }
}

/** A schema that no value satisfies. Where there are other alternatives, it is no error. */
export class NothingAllowedError extends GrammarError {
  override readonly name = "NothingAllowedError";
}
