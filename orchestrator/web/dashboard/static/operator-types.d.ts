export interface FleetShard {
  shard: string;
  job: string;
  model: string;
  state: "running" | "waiting";
  attempt: number;
  age_seconds: number;
  account: string;
  progress: number | null;
  step: number | null;
  steps: number | null;
}

export interface FleetInstance {
  id: string;
  state: string;
  since: string | null;
  detail: string | null;
  retry_at: string | null;
  history: string;
  device: string;
  simulated: boolean;
  adopted: boolean;
  version: string | null;
  delivery: string | null;
  delivery_detail: string | null;
  warming: string | null;
  busy: number;
  utilisation: number | null;
  temperature: number | null;
  power: number | null;
  vram_total: number | null;
  vram_used: number | null;
  restarts: number;
  models_held: string[];
  shards: FleetShard[];
}

export interface FleetSummary {
  instances: number;
  by_state: Record<string, number>;
  busy: number | null;
  waiting: number;
  waiting_seconds: number;
  oldest_wait_seconds: number;
  failures_last_hour: number;
  usd_per_gpu_hour: number | null;
  simulated: boolean;
}

export interface FleetStatus {
  summary: FleetSummary;
  instances: FleetInstance[];
  /** Ids of instances that have gone, in a change. */
  gone?: string[];
  account_names: Record<string, string>;
}

export interface QueueGroup {
  id: string;
  name: string;
  waiting: number;
  running: number | null;
  oldest_seconds: number;
  work_seconds: number;
  wait_seconds: number | null;
}

export interface QueueReport {
  waiting: number;
  models: QueueGroup[];
  accounts: QueueGroup[];
  priorities: QueueGroup[];
}

export interface OperatorJobRow {
  id: string;
  status: string;
  model: string;
  account: string;
  account_name: string;
  key: string;
  key_name: string;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  error_code: string | null;
  error_message: string | null;
  shards: number;
  shards_done: number;
  attempts: number;
  /** Ids of the instances that ran them, first ones first. */
  instances: string[];
  price_usd: number;
  charged_usd: number;
  simulated: boolean;
  removed: boolean;
}

export interface JobAttempt {
  prompt_id: string;
  number: number;
  instance: string;
  started_at: string;
  run_started_at: string | null;
  run_ended_at: string | null;
  ended_at: string | null;
  outcome: string | null;
  reason: string;
  detail: string | null;
  wait_seconds: number;
  prepare_seconds: number | null;
  load_seconds: number | null;
  run_seconds: number | null;
  store_seconds: number | null;
}

export interface JobPart {
  id: string;
  status: string;
  seed: number | null;
  deaths: number;
  attempts: JobAttempt[];
}

export interface OperatorJob extends OperatorJobRow {
  requested_model: string | null;
  origin: string | null;
  parameters: Record<string, any>;
  warnings: string[];
  webhook_host: string | null;
  parts: JobPart[];
  margin: { revenue_usd: number; cost_usd: number; margin_usd: number; shards: { device: string | null; peak_vram: number | null }[] };
  can_cancel: boolean;
  can_retry: boolean;
  can_refund: boolean;
}

export interface ModelHealth {
  id: string;
  name: string;
  type: string;
  version: string;
  state: string;
  succeeded: number;
  failed: number;
  cancelled: number;
  success_rate: number | null;
  waiting: number;
  run_seconds_manifest: number;
  run_seconds_learned: number | null;
  load_seconds_manifest: number;
  load_seconds_learned: number | null;
  measured_runs: number;
  served_by: string[];
  loaded_on: string[];
}

export interface ModelHealthDetails extends ModelHealth {
  instances: { instance: string; can_run: boolean; reasons: string[] }[];
  failures: { job: string; at: string | null; code: string; message: string }[];
}

export interface MarginRow {
  model?: string;
  day?: string;
  device?: string;
  shards: number;
  gpu_seconds: number;
  revenue_usd: number;
  cost_usd: number;
  margin_usd: number;
}

export interface FailedAttempt {
  at: string;
  job: string;
  job_status: string;
  attempt: number;
  instance: string;
  model: string;
  account: string;
  account_name: string;
  kind: string;
  reason: string;
  detail: string | null;
}

export interface OperatorEvent {
  id: number;
  at: string;
  actor: string;
  action: string;
  subject: string;
  detail: Record<string, any>;
}
