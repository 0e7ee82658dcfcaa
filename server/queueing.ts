import type { GenerateRequest } from "./engine/types.ts";

/** What a request says about its place among others. */
export interface QueueingFields {
  readonly priority?: number | null | undefined;
  readonly user?: string | null | undefined;
  readonly cache_salt?: string | null | undefined;
}

/** How a request waits, and with whom it shares cached prompts. Users are tenants, unless there are API keys. */
export function queueingOf({
  priority,
  user,
  cache_salt,
}: QueueingFields): Pick<GenerateRequest, "priority" | "tenant" | "cacheSalt"> {
  return {
    ...(priority ? { priority } : {}),
    ...(user ? { tenant: user } : {}),
    ...(cache_salt ? { cacheSalt: cache_salt } : {}),
  };
}
