"""How LoRAs of callers reach an instance, by ComfyUI's own routes and without a node pack.

ComfyUI also looks for LoRAs in `loras/` of its output folder, where its training nodes save them, and
`/upload/image` writes into the output folder if the form says so. An uploaded file is listed at once. Its
name is made of its digest, so that a file is uploaded once however many requests use it, and its name
reveals nothing.
"""

from __future__ import annotations

from comfy_instances.protocol.outputs import FileRef

#: Folder of the model list, and the folder below `output/` that belongs to it.
LORA_FOLDER = "loras"
#: Begins the names of files that were uploaded, not of those that an operator has put there.
UPLOADED_LORA_PREFIX = "pixelfactory-lora-"
LORA_FILE_SUFFIX = ".safetensors"


def uploaded_lora_name(sha256: str) -> str:
    """Return the name of a LoRA with these bytes, as loader nodes call it, without its suffix."""
    return f"{UPLOADED_LORA_PREFIX}{sha256}"


def uploaded_lora_file(name: str) -> FileRef:
    """Return the file of an uploaded LoRA."""
    return FileRef(filename=f"{name}{LORA_FILE_SUFFIX}", subfolder=LORA_FOLDER, type="output")


def is_uploaded_lora(name: str) -> bool:
    """Return whether a LoRA of an instance, by its name with or without suffix, was uploaded by a service."""
    return name.startswith(UPLOADED_LORA_PREFIX)
