// Requests to the pack's routes on ComfyUI's server, which hold the key and forward to the service.

import { api } from "../../scripts/api.js";

/** An error answer of the service or of the pack, with its code. */
export class RequestFailed extends Error {
  constructor(status, error) {
    super(error.message ?? `The service answered ${status}.`);
    this.status = status;
    this.code = error.code ?? "";
  }
}

async function request(path, options = {}) {
  const headers = { "X-Pixel-Factory-Page": "1", "Content-Type": "application/json" };
  const response = await api.fetchApi(`/pixelfactory${path}`, { ...options, headers });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = typeof body.error === "object" && body.error ? body.error : body;
    throw new RequestFailed(response.status, error);
  }
  return body;
}

function post(path, body) {
  return request(path, { method: "POST", body: JSON.stringify(body) });
}

/** Return whether the service is configured, its address, and what to do if not. */
export const readStatus = () => request("/status");
export const listModels = () => request("/models");
export const readWorkflow = (id) => request(`/models/${encodeURIComponent(id)}/workflow`);
export const sendModel = (body) => post("/models", body);

/** Run a draft, or the live model, and return the job, with addresses of its results for this page. */
export async function runModel(id, params) {
  const job = await post(`/models/${encodeURIComponent(id)}/test`, { params });
  const files = job.files.map((file) => (file.url.startsWith("/") ? { ...file, url: api.apiURL(file.url) } : file));
  return { ...job, files };
}
