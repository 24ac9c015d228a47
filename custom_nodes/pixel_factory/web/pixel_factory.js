// The extension of ComfyUI's page: commands to publish the graph and to open a model, and the parameter nodes.

import { app } from "../../scripts/app.js";
import { addAudioPlayer, refreshNode, setUpNode } from "./nodes.js";
import { openModelDialog } from "./open_dialog.js";
import { openPublishDialog } from "./publish_dialog.js";

const PUBLISH = "PixelFactory.Publish";
const OPEN = "PixelFactory.Open";

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("./style.css", import.meta.url).href;
document.head.append(style);

app.registerExtension({
  name: "PixelFactory",
  commands: [
    {
      id: PUBLISH,
      label: "Publish to Pixel Factory",
      icon: "pi pi-cloud-upload",
      function: openPublishDialog,
    },
    {
      id: OPEN,
      label: "Open from Pixel Factory",
      icon: "pi pi-cloud-download",
      function: openModelDialog,
    },
  ],
  menuCommands: [{ path: ["File"], commands: [PUBLISH, OPEN] }],
  actionBarButtons: [
    {
      icon: "pi pi-cloud-upload",
      label: "Publish to Pixel Factory",
      tooltip: "Publish this graph as a model of Pixel Factory",
      onClick: openPublishDialog,
    },
  ],
  beforeRegisterNodeDef(nodeType, nodeData) {
    addAudioPlayer(nodeData);
  },
  nodeCreated: setUpNode,
  loadedGraphNode: refreshNode,
});
