// Types that several modules share: bodies of the dashboard's API, and objects of the pages. tsc reads this
// file; it is neither served nor shipped.

import type { ImageFile } from "./playground/image-file.js";
import type { ProgressState } from "./playground/progress-state.js";

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
  /** Change of the balance, held amounts included. */
  change_usd: number;
  balance_after_usd: number;
  moved_usd: number;
  job_id: string | null;
  model: string | null;
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

export interface QuarantinedShard {
  shard: string;
  job: string;
  account: string;
  model: string;
  quarantined_at: string;
  has_graph: boolean;
  attempts: { instance: string; outcome: string | null }[];
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
  max_items: number;
  min_strength: number;
  max_strength: number;
}

/** A LoRA of a request. */
export interface LoraValue {
  name?: string;
  /** The job that trained it, for one of the account. */
  job_id?: string;
  strength: number;
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
  /** What a request with the defaults costs, the minimum included. */
  price_usd: number;
  /** Whether the size of the input image decides the price. */
  price_depends_on_input: boolean;
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

export type ShardState = "waiting" | "running" | "succeeded" | "failed" | "cancelled";

export interface Output {
  /** Path of the file, which expires. */
  url: string;
  /** Path of a small image; null for audio, text and meshes. */
  thumbnail: string | null;
  /** Content type. */
  type: string;
  width: number | null;
  height: number | null;
  frames: number | null;
  fps: number | null;
  seed: string | null;
}

export interface Job {
  jobId: string;
  status: JobStatus;
  model: string;
  params: Params;
  outputs: Output[];
  shards: { total: number; done: number; cancelled: number };
  shardStates: ShardState[];
  /** Paths of the input files, by parameter. */
  inputs: Record<string, string[]>;
  costUsd: number;
  simulated: boolean;
  error: { code: string; message: string } | null;
  finishedAt: string | null;
  expiresAt: string | null;
  /** Whether the files are no longer kept. */
  expired: boolean;
}

export interface QueuePosition {
  /** 1 for the job that starts next; null if all of its shards run. */
  position: number | null;
  estimatedFinish: string | null;
  /** When the model is loaded; null while none is. */
  modelReady: string | null;
}

/** One output of a finished job, as the gallery and the lightbox show it. */
export interface GalleryItem {
  job: Job;
  output: Output;
  index: number;
  modelName: string;
  downloadUrl: string;
}

interface TileBase {
  /** Identifies the tile among all. */
  key: string;
  job: Job;
  modelName: string;
}

export interface OutputTile extends GalleryItem {
  kind: "output";
  key: string;
}

export interface ProgressTile extends TileBase {
  kind: "progress";
  /** Number of the shard. */
  index: number;
  state: ProgressState;
}

/** A job that failed or was cancelled. */
export interface EndedTile extends TileBase {
  kind: "ended";
}

export type Tile = OutputTile | ProgressTile | EndedTile;

/** What an image can be made into: the kind of a model, or `edit` for one that takes a mask. */
export type InputUse = ModelKind | "edit";

export interface GalleryActions {
  /** Called when a job has finished and the balance may have changed. */
  onJobFinished: () => void;
  /** Fill the form with the settings, the seed and the inputs of an output. */
  reuseSettings: (item: GalleryItem) => Promise<void>;
  /** Submit a job again. */
  retry: (job: Job) => Promise<void>;
  /** Use an output as the input image of the first model of this kind. */
  useAsInput: (item: GalleryItem, use: InputUse) => Promise<void>;
  canUseAsInput: (use: InputUse) => boolean;
  startComparison: (item: GalleryItem) => void;
  /** Compare with this image if a comparison was started; returns whether it was. */
  pickForComparison: (item: GalleryItem) => boolean;
  showCode: (job: Job) => void;
  showProblem: (message: string) => void;
}

export interface LightboxOptions {
  /** Returns all items in the order of the gallery. */
  listItems: () => GalleryItem[];
  loadOlder: () => Promise<void>;
  actions: GalleryActions & {
    remove: (item: GalleryItem) => Promise<void>;
    /** Load a fresh URL; undefined if the item is no longer there. */
    refresh: (item: GalleryItem) => Promise<GalleryItem | undefined>;
  };
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
  /** Choose these files instead of those that are chosen; for controls that take files. */
  setFiles?: (files: File[]) => Promise<void>;
  /** Whether no file is chosen, for controls that take one file which is no image. */
  isEmpty?: () => boolean;
  required?: boolean;
}

/** The images of an image control. */
export interface ImageInput {
  images: ImageFile[];
  maxImages: number;
  addFiles: (files: Iterable<File>) => Promise<void>;
  /** Add what was dropped or pasted; returns whether there was an image. */
  drop: (transfer: DataTransfer | null) => boolean;
  setImages: (images: ImageFile[]) => void;
}
