"""Which backbones can be pruned and which cannot, by their names in timm.

The tests of `tests/spvit/test_families.py` run every example here and every name of timm's plain vision transformers.
"""

from __future__ import annotations

from spvit.registry import Family, Pooling


def _refused(name: str, pattern: str, examples: tuple[str, ...], refusal: str) -> Family:
    return Family(name=name, pattern=pattern, examples=examples, refusal=refusal, tested_with=())


_OWN_CLASSIFIER = "published without classifier: set model.args.num_classes"

REFUSED = (
    _refused(
        "EVA-02, DINOv3, RoPE",
        r"eva02_.*|eva_giant_.*|vit_(pe|.*_rope)_.*|vit_.*_(dinov3|sapiens2|lingbot).*",
        ("eva02_tiny_patch14_224", "vit_small_patch16_dinov3_qkvb", "vit_small_patch16_rope_224"),
        "rotates positions in every block (RoPE), which would have to be dropped along with the tokens",
    ),
    _refused(
        "relative positions",
        r"vit_s?relpos_.*|beit_.*|beitv2_.*",
        ("vit_relpos_small_patch16_224", "beit_base_patch16_224"),
        "adds a bias for every pair of positions in every block, which would have to be dropped along with the tokens",
    ),
    _refused(
        "parallel blocks",
        r"vit_.*_(18x2|xp)_.*|vit_d?pwee_.*",
        ("vit_small_patch16_18x2_224", "vit_base_patch16_xp_224", "vit_pwee_patch16_reg1_gap_256"),
        "has blocks without a plain attention that could be masked and measured (parallel blocks)",
    ),
    _refused(
        "differential attention",
        r"vit_d(wee|little)_.*",
        ("vit_dwee_patch16_reg1_gap_256",),
        "has blocks without a plain attention (differential attention)",
    ),
    _refused("SAM", r"samvit_.*", ("samvit_base_patch16_224",), "attends within windows of a grid of all patches"),
    _refused("NaFlexViT", r"naflexvit_.*", ("naflexvit_base_patch16_gap",), "takes images of any size and shape"),
    _refused(
        "Swin",
        r"swin_.*|swinv2_.*",
        ("swin_tiny_patch4_window7_224",),
        "attends within windows of a grid of all patches, where dropping three patches in ten makes it but a tenth "
        "faster and package tokens have no place (docs/decisions/21-pit-and-swin.md)",
    ),
)

SUPPORTED = (
    Family(
        name="DeiT distilled",
        pattern=r"deit_.*_distilled_.*",
        examples=("deit_small_distilled_patch16_224",),
        special="2 prefix tokens; the mean of two heads, in training too",
        pooling=Pooling.CLASS_AND_DISTILLATION,
    ),
    Family(
        name="DeiT",
        pattern=r"deit_(tiny|small|base)_patch16_\d+",
        examples=("deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224"),
        special="SPViT's own models",
        pooling=Pooling.CLASS,
    ),
    Family(
        name="DeiT-3",
        pattern=r"deit3_.*",
        examples=("deit3_small_patch16_224",),
        special="layer scale; no position for the class token",
        pooling=Pooling.CLASS,
    ),
    Family(
        name="LV-ViT",
        pattern=r"lvvit_[tsm]",
        examples=("lvvit_t", "lvvit_s", "lvvit_m"),
        special="not in timm, added here; convolutional stem with batch norm",
        pooling=Pooling.CLASS_AND_STRONGEST_PATCH,
    ),
    Family(
        name="PiT",
        pattern=r"pit_.*",
        examples=("pit_ti_224", "pit_s_224", "pit_s_distilled_224"),
        special="pooled twice on the way; keep rates count each level's own patches; no adaptive form, no latency term",
        pooling=Pooling.CLASS,
    ),
    Family(
        name="SigLIP, mean",
        pattern=r"vit_.*_siglip_gap_\d+",
        examples=("vit_base_patch16_siglip_gap_224",),
        special=f"no class token; {_OWN_CLASSIFIER}",
        pooling=Pooling.MEAN,
    ),
    Family(
        name="attention pooling",
        pattern=r"vit_.*_siglip_\d+|vit_.*_map_\d+",
        examples=("vit_base_patch16_siglip_224", "vit_so150m_patch16_reg4_map_256"),
        special=f"no class token; SigLIP {_OWN_CLASSIFIER}",
        pooling=Pooling.ATTENTION,
    ),
    Family(
        name="mean pooling",
        pattern=r"vit_.*_gap_\d+|vit_base_patch16_rpn_224|aimv2_.*",
        examples=("vit_base_patch16_gap_224", "vit_base_patch16_reg4_gap_256", "vit_base_patch16_rpn_224"),
        special="no class token; up to 4 registers; AIMv2 is published without classifier",
        pooling=Pooling.MEAN,
    ),
    Family(
        name="mean beside class token",
        pattern=r"eva_large_.*|beit3_.*",
        examples=("eva_large_patch14_196", "beit3_base_patch16_224"),
        special="the class token takes part in attention alone",
        pooling=Pooling.MEAN,
    ),
    Family(
        name="CLIP",
        pattern=r"vit_.*_clip_.*",
        examples=("vit_base_patch32_clip_224", "vit_base_patch16_clip_quickgelu_224"),
        special="norm before the first block; not the eva02 ones",
        pooling=Pooling.CLASS,
    ),
    Family(
        name="DINOv2 and other encoders",
        pattern=r"vit_.*(_dinov2|_tipsv2|_radio_v\d|intern300m_.*)",
        examples=("vit_small_patch14_reg4_dinov2", "vit_base_patch14_reg1_tipsv2", "vit_base_patch16_radio_v3"),
        special=f"registers; {_OWN_CLASSIFIER}; InternViT needs model.args.dynamic_img_size = false",
        pooling=Pooling.CLASS,
    ),
    Family(
        name="hybrid",
        pattern=r"vit_[a-z]+_(r|r26|r50|resnet26d|resnet50d)_.*",
        examples=("vit_tiny_r_s16_p8_224", "vit_small_resnet26d_224"),
        special="patches are cut from a ResNet's features",
        pooling=Pooling.CLASS,
    ),
    Family(
        name="ViT",
        pattern=r"vit_[a-z]+_patch\d+_(36x1_|plus_)?\d+(_miil)?|flexivit_.*",
        examples=("vit_tiny_patch16_224", "vit_base_patch16_224", "vit_small_patch16_36x1_224", "flexivit_small"),
        special="AugReg and others; images normalised as the checkpoint says (0.5 or ImageNet)",
        pooling=Pooling.CLASS,
    ),
)

FAMILIES = REFUSED + SUPPORTED
"""In the order in which names are looked up: the first match counts."""


def family_of(name: str) -> Family | None:
    """The first family that a name belongs to; None where the name says nothing."""
    return next((family for family in FAMILIES if family.has(name)), None)
