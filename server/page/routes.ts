import type { Context, Hono } from "hono";
import { apiErrors } from "../errors.ts";
import { type Asset, readAssets } from "./assets.ts";
import { contentSecurityPolicy } from "./csp.ts";

/** Where the page and its files are; neither needs a model that is loaded, nor a key. */
export const pagePaths = { page: "/", assets: "/assets/:path{.+}" } as const;

/** Serves the page at `/`. Its files are read when somebody first asks, and kept. */
export function addPage(app: Pick<Hono, "get">): void {
  let assets: ReadonlyMap<string, Asset> | undefined;
  let headers: Readonly<Record<string, string>> = {};
  const load = () => {
    if (assets) return assets;
    const read = readAssets();
    headers = {
      "content-security-policy": contentSecurityPolicy(new TextDecoder().decode(read.get("index.html")!.body)),
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
      // Asked for anew each time, but sent only if changed: an upgraded server never meets half an old page.
      "cache-control": "no-cache",
    };
    assets = read;
    return read;
  };
  const send = (context: Context, name: string) => {
    const asset = load().get(name);
    if (asset === undefined) throw apiErrors.unknownUrl(context.req.method, context.req.path);
    const { body, type, etag } = asset;
    if (context.req.header("if-none-match") === etag) return context.body(null, 304, { ...headers, etag });
    return context.body(body, 200, { ...headers, etag, "content-type": type });
  };
  app.get(pagePaths.page, (context) => send(context, "index.html"));
  app.get(pagePaths.assets, (context) => send(context, context.req.param("path")));
}
