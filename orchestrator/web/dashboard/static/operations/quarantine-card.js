// A card with one quarantined request: who sent it, where instances ended, and its graph to download.

/** @import { QuarantinedShard } from "../types.d.ts" */

import { button, definitions, el } from "../shared/dom.js";

/**
 * @param {QuarantinedShard} shard
 * @param {(id: string) => void} forget
 */
export function quarantineCard(shard, forget) {
  const details = el("dl");
  details.replaceChildren(
    ...definitions([
      ["Model", shard.model],
      ["Account", shard.account],
      ["Since", new Date(shard.quarantined_at).toLocaleString()],
      ["Attempts", shard.attempts.map(({ instance, outcome }) => `${instance}: ${outcome ?? "running"}`).join("; ")],
    ]),
  );
  const href = `/dashboard/api/admin/v1/quarantine/${shard.shard}/graph`;
  const graph = shard.has_graph ? [el("a", { href, download: "", textContent: "Download graph" })] : [];
  const footer = el("div", { className: "row" }, ...graph, button("Delete", () => forget(shard.shard), "quiet"));
  return el("li", { className: "panel" }, el("h2", { textContent: shard.shard }), details, footer);
}
