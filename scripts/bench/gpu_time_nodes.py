"""The source of the nodes that `gpu_time` adds to a real ComfyUI."""

NODES_SOURCE = '''
import time
import comfy.model_management as management
import torch


class BenchPhoto:
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "make", "bench"

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"default": 1, "min": 1, "max": 16384})
        return {"required": {"width": number, "height": number, "count": number}}

    def make(self, width, height, count):
        """Smooth colours with the noise of a camera."""
        random = torch.Generator().manual_seed(1)
        x = torch.linspace(0, 1, width)[None, :]
        y = torch.linspace(0, 1, height)[:, None]
        waves = (torch.sin(6 * x + 3 * y), torch.cos(5 * x * y), torch.sin(9 * x * y + 1))
        base = torch.stack([wave * 0.35 + 0.5 for wave in waves], -1)
        frames = [base + torch.randn(base.shape, generator=random) * 0.024 for _ in range(count)]
        return (torch.stack(frames).clamp(0, 1),)


class BenchSampling:
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "sample", "bench"

    @classmethod
    def INPUT_TYPES(cls):
        nonce = ("INT", {"default": 0, "min": 0, "max": 2**60})
        seconds = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 100.0})
        return {"required": {"images": ("IMAGE",), "seconds": seconds, "nonce": nonce}}

    def sample(self, images, seconds, nonce):
        """Return the images where a VAE leaves them: in main memory, or on the card with `--gpu-only`."""
        time.sleep(seconds)
        return (images.to(management.get_torch_device()).to(management.intermediate_device()),)


class BenchSink:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "take", "bench", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*", {})}}

    def take(self, value):
        return {"ui": {"text": ["done"]}}


class BenchText:
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "bench"

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"default": 1, "min": 1, "max": 16384})
        return {"required": {"width": number, "pooled_width": number}}

    def make(self, width, pooled_width):
        """What text encoders return for a prompt of 256 tokens."""
        random = torch.Generator().manual_seed(2)
        text = torch.randn(1, 256, width, generator=random)
        return ([[text, {"pooled_output": torch.randn(1, pooled_width, generator=random)}]],)


NODE_CLASS_MAPPINGS = {
    node.__name__: node for node in (BenchPhoto, BenchSampling, BenchSink, BenchText)
}
'''
