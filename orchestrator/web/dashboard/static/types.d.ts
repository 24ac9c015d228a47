// Types that several modules share: bodies of the dashboard's API, and objects of the pages. tsc reads this
// file; it is neither served nor shipped.

import type { ImageFile } from "./playground/image-file.js";

export interface WalletBalance {
  balance_usd: number;
  held_usd: number;
  available_usd: number;
}

export type AlertMetric = "balance" | "day" | "month";

export interface BudgetAlert {
  id: string;
  watch: AlertMetric;
  threshold_usd: number;
  url: string | null;
  fired: boolean;
  created_at: string;
}

export interface Account {
  name: string;
  plan: string;
  /** Masked prefix of the API key. */
  key: string;
  scopes: string[];
  /** Null when the key lacks the scope `billing`. */
  balance: WalletBalance | null;
  /** Alerts that have fired. */
  alerts: BudgetAlert[];
  simulated: boolean;
}

export interface Plan {
  id: string;
  price_usd: number;
  allowance_usd: number;
  left_usd: number;
  renews_at: string;
}

export type LedgerEntryKind = "credit" | "debit" | "grant" | "expire" | "hold" | "capture" | "release" | "refund";

export interface LedgerEntry {
  kind: LedgerEntryKind;
  /** Change of the available balance. */
  amount_usd: number;
  moved_usd: number;
  job_id: string | null;
  reference: string | null;
  at: string;
}

export type UsageGroup = "day" | "model" | "key";

export interface UsageRow {
  jobs: number;
  cost_usd: number;
  day?: string;
  model?: string;
  key?: string;
}

export interface UsageReport {
  usage: UsageRow[];
  totals: { jobs: number; cost_usd: number };
}

export interface DeliveryAttempt {
  at: string;
  seconds: number;
  status: number | null;
  error: string | null;
}

export interface WebhookMessage {
  id: string;
  type: string;
  data: object;
  url: string | null;
  created_at: string;
  attempts: number;
  delivered_at: string | null;
  next_attempt_at: string | null;
}

export interface WebhookMessageDetails extends WebhookMessage {
  history: DeliveryAttempt[];
}

export interface ApiKey {
  id: string;
  /** The secret; only in the response that creates or rotates the key. */
  key?: string;
  prefix: string;
  name: string;
  scopes: string[];
  /** Null: all models. */
  models: string[] | null;
  expires_at: string | null;
  daily_cap_usd: number | null;
  monthly_cap_usd: number | null;
  created_at: string;
  revoked_at: string | null;
  state: "active" | "expired" | "revoked";
  /** Whether the browser is signed in with this key. */
  current: boolean;
}

export interface AssignedShard {
  model: string;
  state: "running" | "waiting";
  attempt: number;
}

export interface Instance {
  id: string;
  state: string;
  since: string | null;
  detail: string | null;
  device: string;
  simulated: boolean;
  adopted: boolean;
  version: string | null;
  /** How results are stored: `direct`, or `service` for the reason in `delivery_detail`; null if unknown. */
  delivery: string | null;
  delivery_detail: string | null;
  busy: number;
  utilisation: number | null;
  temperature: number | null;
  power: number | null;
  vram_total: number | null;
  vram_used: number | null;
  restarts: number;
  models_held: string[];
  shards: AssignedShard[];
}

export interface QuarantinedShard {
  shard: string;
  job: string;
  account: string;
  model: string;
  quarantined_at: string;
  has_graph: boolean;
  attempts: { instance: string; outcome: string | null }[];
}

export interface QueueStatus {
  waiting: number;
  by_model: Record<string, number>;
}

export type ModelKind = "image" | "upscale" | "audio" | "3d" | "text" | "video" | "i2v" | "trainer";

interface ParameterBase {
  description: string;
  required: boolean;
}

export interface TextParameter extends ParameterBase {
  type: "string";
  default: string | null;
  max_length: number;
  choices: string[];
}

export interface IntegerParameter extends ParameterBase {
  type: "integer";
  default: number | null;
  minimum: number;
  maximum: number;
  step: number;
  grid: number;
}

export interface NumberParameter extends ParameterBase {
  type: "number";
  default: number | null;
  minimum: number;
  maximum: number;
  step: number | null;
}

export interface BooleanParameter extends ParameterBase {
  type: "boolean";
  default: boolean;
}

export interface SeedParameter extends ParameterBase {
  type: "seed";
}

export interface ImageParameter extends ParameterBase {
  type: "image";
}

export interface ImageListParameter extends ParameterBase {
  type: "images";
  max_items: number;
}

export interface DatasetParameter extends ParameterBase {
  type: "dataset";
}

export interface VideoParameter extends ParameterBase {
  type: "video";
}

export interface AudioParameter extends ParameterBase {
  type: "audio";
}

export interface LoraListParameter extends ParameterBase {
  type: "loras";
}

export type Parameter =
  | TextParameter
  | IntegerParameter
  | NumberParameter
  | BooleanParameter
  | SeedParameter
  | ImageParameter
  | ImageListParameter
  | DatasetParameter
  | VideoParameter
  | AudioParameter
  | LoraListParameter;

export interface Model {
  id: string;
  name: string;
  kind: ModelKind;
  description: string;
  license: string;
  license_use: string;
  max_n: number;
  price_usd: number;
  parameters: Record<string, Parameter>;
  /** Width and height by aspect ratio. */
  sizes: Record<string, [number, number]>;
  /** The author's own values, such as the prompt. */
  example: Params;
  /** A picture that the author has made, as a `data:` URL; or empty. */
  example_picture: string;
  /** Paths of the author's own input files, by parameter. */
  example_files: Record<string, string>;
}

export type Params = Record<string, any>;

export type JobStatus = "pending" | "processing" | "completed" | "failed" | "cancelled";

export interface Output {
  url: string;
  /** Content type. */
  type: string;
  width: number | null;
  height: number | null;
}

export interface Job {
  jobId: string;
  status: JobStatus;
  model: string;
  params: Params;
  outputs: Output[];
  shards: { total: number; done: number };
  costUsd: number;
  simulated: boolean;
  error: { code: string; message: string } | null;
  finishedAt: string | null;
}

/** One output of a finished job, as the gallery and the lightbox show it. */
export interface GalleryItem {
  job: Job;
  output: Output;
  index: number;
  modelName: string;
  downloadUrl: string;
}

export interface GalleryActions {
  /** Called when a job has finished and the balance may have changed. */
  onJobFinished: () => void;
  /** Fill the form with the settings of a job. */
  reuseSettings: (job: Job) => void;
  /** Use an output as the input image of the first model of this kind. */
  useAsInput: (item: GalleryItem, kind: ModelKind) => void;
}

/** Read a file that the user gave, as text: the file itself, or a small placeholder for a price quote. */
export interface UploadSource {
  toDataUrl: () => Promise<string>;
  toPlaceholder: () => Promise<string>;
}

export type EncodeUpload = (source: UploadSource) => Promise<string>;

/** The form element of one model parameter. */
export interface Control {
  node: HTMLElement;
  /** The element that receives the focus. */
  input: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;
  /** The current value; undefined when none is given. Absent for uploads. */
  get?: () => any;
  set?: (value: any) => void;
  /** The uploaded files as text, for controls that take files. */
  encode?: (encode: EncodeUpload) => Promise<string | string[] | undefined>;
  images?: ImageInput;
  /** Whether no file is chosen, for controls that take one file which is no image. */
  isEmpty?: () => boolean;
  required?: boolean;
}

/** The images of an image control. */
export interface ImageInput {
  images: ImageFile[];
  maxImages: number;
  addFiles: (files: Iterable<File>) => Promise<void>;
  setImages: (images: ImageFile[]) => void;
}
