import type { Context, MiddlewareHandler } from "hono";
import type { ApiKeys, Tenant } from "./api-keys.ts";
import { apiErrors } from "./errors.ts";

declare module "hono" {
  interface ContextVariableMap {
    /** Set where the server has API keys and the request brought one. */
    tenant: Tenant | undefined;
  }
}

/** Lets requests through that bring a key as `Authorization: Bearer KEY`, and all for paths that are open. */
export function authorize(keys: ApiKeys, isOpen: (path: string) => boolean): MiddlewareHandler {
  return async (context, next) => {
    const key = bearerKey(context);
    const tenant = key === undefined ? null : keys.tenantOf(key);
    if (tenant !== null) {
      context.set("tenant", tenant);
      context.get("requestLog").note({ tenant: tenant.id });
    } else if (!isOpen(context.req.path)) throw key === undefined ? apiErrors.missingKey() : apiErrors.wrongKey();
    await next();
  };
}

function bearerKey(context: Context): string | undefined {
  return /^bearer +(\S+) *$/i.exec(context.req.header("authorization") ?? "")?.[1];
}
