import { workerData } from "node:worker_threads";
import { serveJobs } from "./helpers.ts";
import type { HelperPlace } from "./messages.ts";

serveJobs(workerData as HelperPlace);
