import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { createApp, openApiDocument } from "../../server/app.ts";
import { parseServerOptions } from "../../server/config.ts";
import { ServerMetrics } from "../../server/metrics/server-metrics.ts";
import { silentLog } from "../support/serving.ts";

// biome-ignore lint/suspicious/noExplicitAny: manifests are what is being checked
type Manifest = any;

const folder = new URL("../../deploy/kubernetes/", import.meta.url);
const manifests: Manifest[] = readdirSync(folder).flatMap((name) => {
  const documents = parseAllDocuments(readFileSync(new URL(name, folder), "utf8"), { strict: true });
  expect(
    documents.flatMap(({ errors }) => errors),
    name,
  ).toEqual([]);
  return documents.map((document) => document.toJS());
});
const ofKind = (kind: string): Manifest => manifests.find((manifest) => manifest.kind === kind);

const app = createApp({
  state: () => ({ phase: "loading" }),
  log: silentLog,
  pingMs: 1000,
  bodyLimitBytes: 1000,
  metrics: new ServerMetrics(() => "loading"),
});
const paths = Object.keys(openApiDocument(app).paths ?? {});

const { spec } = ofKind("Deployment").spec.template;
const [container] = spec.containers;

/** The container's SPARQ_ variables, as the command line gives them to the server. */
const options = Object.fromEntries(
  container.env.map(({ name, value }: { name: string; value: string }) => {
    const words = name.replace(/^SPARQ_/, "").toLowerCase();
    return [words.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()), value];
  }),
);

describe("the deployment", () => {
  it("sets options that there are, to values that they take", () => {
    const parsed: Readonly<Record<string, unknown>> = parseServerOptions(options);
    for (const [name, value] of Object.entries(options)) expect(String(parsed[name]), name).toBe(value);
  });

  it("has time for requests that run when it is told to stop", () => {
    const pause = Number(container.lifecycle.preStop.exec.command[1]);
    const { graceSeconds } = parseServerOptions(options);
    expect(spec.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(pause + graceSeconds + 5);
  });

  it("probes paths that there are, and does not kill what loads or drains", () => {
    const path = (probe: string): string => container[`${probe}Probe`].httpGet.path;
    for (const probe of ["startup", "readiness", "liveness"]) expect(paths).toContain(path(probe));
    expect(path("liveness")).toBe("/livez");
    expect(path("startup")).toBe(path("readiness"));
    expect(container.livenessProbe.timeoutSeconds).toBeGreaterThanOrEqual(5);
  });

  it("mounts what its options point to, and can write nowhere else", () => {
    const mounts = new Map(container.volumeMounts.map((mount: Manifest) => [mount.mountPath, mount]));
    expect(mounts.get("/etc/sparq")).toMatchObject({ readOnly: true });
    expect(options.apiKeyFile).toMatch(/^\/etc\/sparq\//);
    expect(mounts.has("/var/cache/sparq")).toBe(true);
    expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true, allowPrivilegeEscalation: false });
    const volumes = spec.volumes.map(({ name }: Manifest) => name);
    for (const { name } of container.volumeMounts) expect(volumes).toContain(name);
    const claim = spec.volumes.find((volume: Manifest) => volume.persistentVolumeClaim)?.persistentVolumeClaim
      .claimName;
    expect(claim).toBe(ofKind("PersistentVolumeClaim").metadata.name);
  });
});

describe("the other manifests", () => {
  it("mean the deployment's pods and port", () => {
    const { labels } = ofKind("Deployment").spec.template.metadata;
    const port = container.ports[0].name;
    expect(ofKind("Service").spec.selector).toEqual(labels);
    expect(ofKind("Service").spec.ports[0].targetPort).toBe(port);
    expect(ofKind("PodDisruptionBudget").spec.selector.matchLabels).toEqual(labels);
    expect(ofKind("PodMonitor").spec.selector.matchLabels).toEqual(labels);
    const [endpoint] = ofKind("PodMonitor").spec.podMetricsEndpoints;
    expect([endpoint.port, paths.includes(endpoint.path)]).toEqual([port, true]);
    const { service } = ofKind("Ingress").spec.rules[0].http.paths[0].backend;
    const { metadata, spec: serviceSpec } = ofKind("Service");
    expect(service).toEqual({ name: metadata.name, port: { name: serviceSpec.ports[0].name } });
    expect(ofKind("HorizontalPodAutoscaler").spec.scaleTargetRef.name).toBe(ofKind("Deployment").metadata.name);
  });

  it("are all listed for kustomize", () => {
    const others = readdirSync(folder).filter((name) => name !== "kustomization.yaml");
    expect(ofKind("Kustomization").resources.toSorted()).toEqual(others.toSorted());
  });

  it("let bodies through that the server takes", () => {
    const { maxBodyMb } = parseServerOptions({});
    const limit = ofKind("Ingress").metadata.annotations["nginx.ingress.kubernetes.io/proxy-body-size"];
    expect(Number.parseInt(limit, 10)).toBeGreaterThan(maxBodyMb);
    const nginx = readFileSync(new URL("../nginx/sparq.conf", folder), "utf8");
    expect(Number(/client_max_body_size (\d+)m;/.exec(nginx)?.[1])).toBeGreaterThan(maxBodyMb);
  });
});
