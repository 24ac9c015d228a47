"""One graph per family of models, small enough to run in a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.unit.simulator.simulator_bench import node

Graph = dict[str, Any]


def _encoded(encoder: dict[str, Any], positive: str = "a heron", negative: str = "blur") -> Graph:
    return {
        "clip": encoder,
        "positive": node("CLIPTextEncode", clip=["clip", 0], text=positive),
        "negative": node("CLIPTextEncode", clip=["clip", 0], text=negative),
    }


def _sampled(**changes: Any) -> Graph:
    inputs = {
        "model": ["model", 0], "positive": ["positive", 0], "negative": ["negative", 0],
        "latent_image": ["latent", 0], "seed": 1, "steps": 4, "cfg": 1.0, "sampler_name": "euler",
        "scheduler": "simple", "denoise": 1.0,
    }  # fmt: skip
    return {"sampled": node("KSampler", **(inputs | changes))}


def _pictures(vae: str) -> Graph:
    return {
        "vae": node("VAELoader", vae_name=vae),
        "decoded": node("VAEDecode", samples=["sampled", 0], vae=["vae", 0]),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="picture"),
    }


def _film(vae: str, fps: float) -> Graph:
    film = {
        "made": node("CreateVideo", images=["decoded", 0], fps=fps),
        "saved": node("SaveVideo", video=["made", 0], filename_prefix="film", format="mp4", codec="h264"),
    }
    return _pictures(vae) | film


def flux(**changes: Any) -> Graph:
    clip = {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl_fp16.safetensors", "type": "flux"}
    return {
        "model": node("UNETLoader", unet_name="flux1-schnell.safetensors", weight_dtype="default"),
        **_encoded(node("DualCLIPLoader", **clip)),
        "negative": node("ConditioningZeroOut", conditioning=["positive", 0]),
        "latent": node("EmptySD3LatentImage", width=128, height=64, batch_size=1),
        **_sampled(**changes),
        **_pictures("ae.safetensors"),
    }


def sdxl(prompt: str = "a heron", negative: str = "blur", **changes: Any) -> Graph:
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "positive": node("CLIPTextEncode", clip=["model", 1], text=prompt),
        "negative": node("CLIPTextEncode", clip=["model", 1], text=negative),
        "latent": node("EmptyLatentImage", width=128, height=64, batch_size=1),
        **_sampled(**({"cfg": 7.0} | changes)),
        "decoded": node("VAEDecode", samples=["sampled", 0], vae=["model", 2]),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="picture"),
    }


def _custom(sigmas: dict[str, Any], guider: dict[str, Any], latent: dict[str, Any]) -> Graph:
    return {
        "guider": guider,
        "sigmas": sigmas,
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "noise": node("RandomNoise", noise_seed=5),
        "latent": latent,
        "sampled": node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0],
            sigmas=["sigmas", 0], latent_image=["latent", 0],
        ),
    }  # fmt: skip


def flux2() -> Graph:
    return {
        "model": node("UNETLoader", unet_name="flux2_dev_fp8mixed.safetensors", weight_dtype="default"),
        **_encoded(node("CLIPLoader", clip_name="mistral_3_small_flux2_fp8.safetensors", type="flux2")),
        "guided": node("FluxGuidance", conditioning=["positive", 0], guidance=4.0),
        **_custom(
            node("Flux2Scheduler", steps=6, width=128, height=64),
            node("BasicGuider", model=["model", 0], conditioning=["guided", 0]),
            node("EmptyFlux2LatentImage", width=128, height=64, batch_size=1),
        ),
        **_pictures("flux2-vae.safetensors"),
    }


def upscale() -> Graph:
    return {
        "image": node("LoadImage", image="start.png"),
        "model": node("UpscaleModelLoader", model_name="4x-UltraSharp.pth"),
        "up": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
        "saved": node("SaveImage", images=["up", 0], filename_prefix="picture"),
    }


def wan_t2v() -> Graph:
    unet = "wan2.1_t2v_1.3B_fp16.safetensors"
    return {
        "unet": node("UNETLoader", unet_name=unet, weight_dtype="default"),
        "model": node("ModelSamplingSD3", model=["unet", 0], shift=8.0),
        **_encoded(node("CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan")),
        "latent": node("EmptyHunyuanLatentVideo", width=128, height=64, length=9, batch_size=1),
        **_sampled(cfg=6.0, sampler_name="uni_pc"),
        **_film("wan_2.1_vae.safetensors", 16.0),
    }


def wan_i2v() -> Graph:
    vision = {"clip_vision": ["vision", 0], "image": ["start", 0], "crop": "none"}
    return wan_t2v() | {
        "start": node("LoadImage", image="start.png"),
        "vision": node("CLIPVisionLoader", clip_name="clip_vision_h.safetensors"),
        "seen": node("CLIPVisionEncode", **vision),
        "latent": node(
            "WanImageToVideo", positive=["positive", 0], negative=["negative", 0], vae=["vae", 0], width=128,
            height=64, length=9, batch_size=1, clip_vision_output=["seen", 0], start_image=["start", 0],
        ),
        **_sampled(positive=["latent", 0], negative=["latent", 1], latent_image=["latent", 2], cfg=6.0),
    }  # fmt: skip


def wan22() -> Graph:
    shared = {
        "positive": ["positive", 0], "negative": ["negative", 0], "steps": 6, "cfg": 3.5,
        "sampler_name": "euler", "scheduler": "simple",
    }  # fmt: skip
    low = "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors"
    return wan_t2v() | {
        "low": node("UNETLoader", unet_name=low, weight_dtype="default"),
        "first": node(
            "KSamplerAdvanced", model=["model", 0], add_noise="enable", noise_seed=7, start_at_step=0,
            end_at_step=3, return_with_leftover_noise="enable", latent_image=["latent", 0], **shared,
        ),
        "sampled": node(
            "KSamplerAdvanced", model=["low", 0], add_noise="disable", noise_seed=0, start_at_step=3,
            end_at_step=10000, return_with_leftover_noise="disable", latent_image=["first", 0], **shared,
        ),
    }  # fmt: skip


def hunyuan() -> Graph:
    return wan_t2v() | {
        **_custom(
            node("BasicScheduler", model=["unet", 0], scheduler="simple", steps=5, denoise=1.0),
            node("BasicGuider", model=["model", 0], conditioning=["positive", 0]),
            node("EmptyHunyuanLatentVideo", width=128, height=64, length=9, batch_size=1),
        ),
        "decoded": node(
            "VAEDecodeTiled", samples=["sampled", 0], vae=["vae", 0], tile_size=256, overlap=64,
            temporal_size=64, temporal_overlap=8,
        ),
    }  # fmt: skip


def ltx2() -> Graph:
    checkpoint = "ltx-2-19b-dev-fp8.safetensors"
    text = {"text_encoder": "gemma_3_12B_it_fp4_mixed.safetensors", "ckpt_name": checkpoint}
    audio = {"frames_number": 9, "frame_rate": 25, "batch_size": 1, "audio_vae": ["audio vae", 0]}
    stage = {"noise": ["noise", 0], "sampler": ["sampler", 0]}
    upscaler = "ltx-2-spatial-upscaler-x2-1.0.safetensors"
    lora = "ltx-2-19b-distilled-lora-384.safetensors"
    schedule = {"steps": 5, "max_shift": 2.05, "base_shift": 0.95, "stretch": True, "terminal": 0.1}
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "audio vae": node("LTXVAudioVAELoader", ckpt_name=checkpoint),
        **_encoded(node("LTXAVTextEncoderLoader", device="default", **text)),
        "rated": node(
            "LTXVConditioning", positive=["positive", 0], negative=["negative", 0], frame_rate=25.0
        ),
        "video": node("EmptyLTXVLatentVideo", width=128, height=64, length=9, batch_size=1),
        "audio": node("LTXVEmptyLatentAudio", **audio),
        "both": node("LTXVConcatAVLatent", video_latent=["video", 0], audio_latent=["audio", 0]),
        "guider": node(
            "CFGGuider", model=["model", 0], positive=["rated", 0], negative=["rated", 1], cfg=4.0
        ),
        "sigmas": node("LTXVScheduler", latent=["both", 0], **schedule),
        "sampler": node("KSamplerSelect", sampler_name="euler_ancestral"),
        "noise": node("RandomNoise", noise_seed=5),
        "first": node(
            "SamplerCustomAdvanced", guider=["guider", 0], sigmas=["sigmas", 0], latent_image=["both", 0],
            **stage,
        ),
        "parts": node("LTXVSeparateAVLatent", av_latent=["first", 0]),
        "cropped": node(
            "LTXVCropGuides", positive=["rated", 0], negative=["rated", 1], latent=["parts", 0]
        ),
        "upscaler": node("LatentUpscaleModelLoader", model_name=upscaler),
        "larger": node(
            "LTXVLatentUpsampler", samples=["cropped", 2], upscale_model=["upscaler", 0], vae=["model", 2]
        ),
        "again": node("LTXVConcatAVLatent", video_latent=["larger", 0], audio_latent=["parts", 1]),
        "tuned": node("LoraLoaderModelOnly", model=["model", 0], lora_name=lora, strength_model=1.0),
        "guider 2": node(
            "CFGGuider", model=["tuned", 0], positive=["cropped", 0], negative=["cropped", 1], cfg=1.0
        ),
        "sigmas 2": node("ManualSigmas", sigmas="0.909375, 0.725, 0.421875, 0.0"),
        "second": node(
            "SamplerCustomAdvanced", guider=["guider 2", 0], sigmas=["sigmas 2", 0],
            latent_image=["again", 0], **stage,
        ),
        "done": node("LTXVSeparateAVLatent", av_latent=["second", 1]),
        "decoded": node(
            "VAEDecodeTiled", samples=["done", 0], vae=["model", 2], tile_size=512, overlap=64,
            temporal_size=4096, temporal_overlap=8,
        ),
        "sound": node("LTXVAudioVAEDecode", samples=["done", 1], audio_vae=["audio vae", 0]),
        "made": node("CreateVideo", images=["decoded", 0], fps=25.0, audio=["sound", 0]),
        "saved": node("SaveVideo", video=["made", 0], filename_prefix="film", format="mp4", codec="h264"),
    }  # fmt: skip


def cogvideo() -> Graph:
    return {
        "model": node("DownloadAndLoadCogVideoModel", model="kijai/CogVideoX-5b-1.5-T2V"),
        "clip": node("CLIPLoader", clip_name="t5xxl_fp16.safetensors", type="sd3"),
        "positive": node("CogVideoTextEncode", clip=["clip", 0], prompt="a heron"),
        "negative": node("CogVideoTextEncode", clip=["clip", 0], prompt="blur"),
        "latent": node("EmptyLatentImage", width=128, height=64, batch_size=1),
        "sampled": node(
            "CogVideoSampler", model=["model", 0], positive=["positive", 0], negative=["negative", 0],
            samples=["latent", 0], num_frames=9, steps=5, cfg=6.0, seed=3, scheduler="CogVideoXDDIM",
        ),
        "decoded": node(
            "CogVideoDecode", vae=["model", 1], samples=["sampled", 0], enable_vae_tiling=True,
            tile_sample_min_height=240, tile_sample_min_width=360, tile_overlap_factor_height=0.2,
            tile_overlap_factor_width=0.2, auto_tile_size=True,
        ),
        "made": node("CreateVideo", images=["decoded", 0], fps=8.0),
        "saved": node("SaveVideo", video=["made", 0], filename_prefix="film", format="mp4", codec="h264"),
    }  # fmt: skip


def inpaint() -> Graph:
    fill = {"pixels": ["image", 0], "mask": ["image", 1], "vae": ["vae", 0], "noise_mask": True}
    return flux() | {
        "image": node("LoadImage", image="start.png"),
        "model 2": node("DifferentialDiffusion", model=["model", 0]),
        "filled": node(
            "InpaintModelConditioning", positive=["positive", 0], negative=["negative", 0], **fill
        ),
        **_sampled(
            model=["model 2", 0], positive=["filled", 0], negative=["filled", 1], latent_image=["filled", 2]
        ),
    }


def song() -> Graph:
    words = {"tags": "slow", "lyrics": "la", "lyrics_strength": 1.0}
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="ace_step_v1.safetensors"),
        "positive": node("TextEncodeAceStepAudio", clip=["model", 1], **words),
        "negative": node("ConditioningZeroOut", conditioning=["positive", 0]),
        "latent": node("EmptyAceStepLatentAudio", seconds=1.5, batch_size=1),
        **_sampled(cfg=5.0),
        "decoded": node("VAEDecodeAudio", samples=["sampled", 0], vae=["model", 2]),
        "saved": node("SaveAudioMP3", audio=["decoded", 0], filename_prefix="song", quality="V0"),
    }


def mesh() -> Graph:
    surface = {"algorithm": "surface net", "threshold": 0.6}
    return {
        "image": node("LoadImage", image="start.png"),
        "model": node("ImageOnlyCheckpointLoader", ckpt_name="hunyuan3d-dit-v2_fp16.safetensors"),
        "seen": node("CLIPVisionEncode", clip_vision=["model", 1], image=["image", 0], crop="center"),
        "conditioned": node("Hunyuan3Dv2Conditioning", clip_vision_output=["seen", 0]),
        "latent": node("EmptyLatentHunyuan3Dv2", resolution=3072, batch_size=1),
        **_sampled(positive=["conditioned", 0], negative=["conditioned", 1], cfg=5.0),
        "decoded": node(
            "VAEDecodeHunyuan3D", samples=["sampled", 0], vae=["model", 2], num_chunks=8000,
            octree_resolution=256,
        ),
        "mesh": node("VoxelToMesh", voxel=["decoded", 0], **surface),
        "saved": node("SaveGLB", mesh=["mesh", 0], filename_prefix="mesh"),
    }  # fmt: skip


GRAPHS: Mapping[str, Callable[[], Graph]] = {
    graph.__name__: graph
    for graph in (
        flux, flux2, sdxl, upscale, wan_t2v, wan_i2v, wan22, hunyuan, ltx2, cogvideo, inpaint, song, mesh,
    )
}  # fmt: skip
