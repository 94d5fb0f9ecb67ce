"""The networks by name: family, input, and how to build each with random weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

from torch import nn

from benchmarks.peers.packages import package
from benchmarks.unseen import sequences, vision
from torchedge.models import KeywordSpotter, MobileDigits

__all__ = ["NETWORKS", "Entry", "build"]


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network.

    Args:
        family: Networks of a family differ by size or by details.
        make: Builds it.
        shape: Of one input.
        tokens: Inputs are whole numbers below this; 0 for real numbers.
        needs: A package beside torch.
    """

    family: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tokens: int = 0
    needs: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class _Foreign:
    """A network of a library: its family, the side of its pictures, and options."""

    family: str
    size: int = 96
    options: Mapping[str, Any] = field(default_factory=dict)


def build(name: str) -> Entry:
    """The entry of that name.

    Raises:
        UnknownNameError: There is none.
    """
    from torchedge.errors import UnknownNameError

    if name not in NETWORKS:
        raise UnknownNameError(f"there is no network '{name}'; choose of {sorted(NETWORKS)}.")
    return NETWORKS[name]


def _timm(name: str, options: Mapping[str, Any]) -> nn.Module:
    model: nn.Module = package("timm").create_model(name, pretrained=False, **options)
    return model


def _torchvision(name: str, options: Mapping[str, Any]) -> nn.Module:
    builder = package("torchvision.models").get_model_builder(name)
    model: nn.Module = builder(weights=None, **options)
    return model


_SEGMENTS = {"weights_backbone": None, "num_classes": 5}
_NO_AUXILIARY = {"aux_logits": False, "init_weights": True}
_SMALL_VIT = {
    **{"image_size": 64, "patch_size": 8, "num_layers": 4, "num_heads": 8},
    **{"hidden_dim": 128, "mlp_dim": 256, "num_classes": 10},
}
_TORCHVISION = {
    "resnet18": _Foreign(family="resnet"),
    "resnext50_32x4d": _Foreign(family="resnext", size=64),
    "mobilenet_v2": _Foreign(family="mobilenet v2"),
    "mobilenet_v3_small": _Foreign(family="mobilenet v3"),
    "shufflenet_v2_x0_5": _Foreign(family="shufflenet"),
    "squeezenet1_1": _Foreign(family="squeezenet"),
    "efficientnet_b0": _Foreign(family="efficientnet"),
    "efficientnet_v2_s": _Foreign(family="efficientnet v2"),
    "mnasnet0_5": _Foreign(family="mnasnet"),
    "regnet_y_400mf": _Foreign(family="regnet y"),
    "regnet_x_400mf": _Foreign(family="regnet x"),
    "densenet121": _Foreign(family="densenet"),
    "googlenet": _Foreign(family="googlenet", options=_NO_AUXILIARY),
    "inception_v3": _Foreign(family="inception", size=139, options=_NO_AUXILIARY),
    "convnext_tiny": _Foreign(family="convnext", size=64),
    "swin_t": _Foreign(family="swin", size=112),
    "lraspp_mobilenet_v3_large": _Foreign(family="lraspp", options=_SEGMENTS),
    "deeplabv3_mobilenet_v3_large": _Foreign(family="deeplab", options=_SEGMENTS),
    "fcn_resnet50": _Foreign(family="fcn", size=64, options=_SEGMENTS),
    "ssdlite320_mobilenet_v3_large": _Foreign(
        family="ssdlite", size=320, options={"weights_backbone": None}
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _Foreign(
        family="faster r-cnn", size=320, options={"weights_backbone": None}
    ),
}

_AT_128 = {"img_size": 128}
_WINDOWS_OF_4 = {"img_size": 128, "window_size": 4}
_TIMM = {
    "resnet10t": _Foreign(family="resnet"),
    "resnet26t": _Foreign(family="resnet"),
    "seresnet18": _Foreign(family="senet"),
    "legacy_seresnet18": _Foreign(family="senet"),
    "resnetblur18": _Foreign(family="blurred resnet"),
    "ecaresnet26t": _Foreign(family="eca"),
    "resnetv2_18": _Foreign(family="resnet v2"),
    "resnest14d": _Foreign(family="resnest"),
    "skresnet18": _Foreign(family="sknet"),
    "res2net50_14w_8s": _Foreign(family="res2net", size=64),
    "selecsls42": _Foreign(family="selecsls"),
    "dla46_c": _Foreign(family="dla"),
    "dpn48b": _Foreign(family="dpn"),
    "densenetblur121d": _Foreign(family="densenet"),
    "darknet17": _Foreign(family="darknet"),
    "darknet53": _Foreign(family="darknet"),
    "cspresnet50": _Foreign(family="cspnet", size=64),
    "cs3darknet_focus_s": _Foreign(family="cspnet"),
    "cspnext_tiny": _Foreign(family="cspnext"),
    "hrnet_w18_small": _Foreign(family="hrnet"),
    "ese_vovnet19b_slim": _Foreign(family="vovnet"),
    "xception41": _Foreign(family="xception"),
    "repvgg_a0": _Foreign(family="repvgg"),
    "gernet_s": _Foreign(family="gernet"),
    "mobileone_s0": _Foreign(family="mobileone"),
    "eca_nfnet_l0": _Foreign(family="nfnet", size=64),
    "lcnet_050": _Foreign(family="lcnet"),
    "lcnetv2_small": _Foreign(family="lcnet"),
    "tinynet_e": _Foreign(family="tinynet"),
    "fbnetc_100": _Foreign(family="fbnet"),
    "fbnetv3_b": _Foreign(family="fbnet"),
    "mobilenetv4_conv_small": _Foreign(family="mobilenet v4"),
    "mobilenetv4_hybrid_medium": _Foreign(family="mobilenet v4", size=128),
    "mobilenet_edgetpu_v2_xs": _Foreign(family="edgetpu"),
    "efficientnet_es": _Foreign(family="edgetpu"),
    "efficientnet_lite0": _Foreign(family="efficientnet lite"),
    "mixnet_s": _Foreign(family="mixnet"),
    "spnasnet_100": _Foreign(family="spnasnet"),
    "hardcorenas_a": _Foreign(family="hardcorenas"),
    "ghostnet_050": _Foreign(family="ghostnet"),
    "ghostnetv2_100": _Foreign(family="ghostnet v2"),
    "repghostnet_050": _Foreign(family="repghost"),
    "rexnet_100": _Foreign(family="rexnet"),
    "hgnetv2_b0": _Foreign(family="hgnet"),
    "starnet_s1": _Foreign(family="starnet"),
    "fasternet_t0": _Foreign(family="fasternet"),
    "repvit_m0_9": _Foreign(family="repvit"),
    "tresnet_m": _Foreign(family="tresnet", size=64),
    "convnext_atto": _Foreign(family="convnext"),
    "convnextv2_atto": _Foreign(family="convnext v2"),
    "inception_next_atto": _Foreign(family="inception-next"),
    "rdnet_tiny": _Foreign(family="rdnet", size=64),
    "poolformer_s12": _Foreign(family="metaformer"),
    "convformer_s18": _Foreign(family="metaformer"),
    "mambaout_femto": _Foreign(family="mambaout"),
    "edgenext_xx_small": _Foreign(family="edgenext"),
    "mobilevit_xxs": _Foreign(family="mobilevit", size=128),
    "mobilevitv2_050": _Foreign(family="mobilevit v2", size=128),
    "efficientformer_l1": _Foreign(family="efficientformer", size=224),
    "efficientformerv2_s0": _Foreign(family="efficientformer", size=224),
    "efficientvit_b0": _Foreign(family="efficientvit", size=128),
    "efficientvit_m0": _Foreign(family="efficientvit msra", size=224),
    "fastvit_t8": _Foreign(family="fastvit", size=128),
    "levit_128s": _Foreign(family="levit", size=224),
    "shvit_s1": _Foreign(family="shvit", size=128),
    "swiftformer_xs": _Foreign(family="swiftformer", size=128),
    "pvt_v2_b0": _Foreign(family="pvt", size=128),
    "coat_lite_tiny": _Foreign(family="coat", size=128, options=_AT_128),
    "tiny_vit_5m_224": _Foreign(family="tinyvit", size=224),
    "visformer_tiny": _Foreign(family="visformer", size=128, options=_AT_128),
    "xcit_nano_12_p16_224": _Foreign(family="xcit", size=128, options=_AT_128),
    "vit_tiny_patch16_224": _Foreign(family="vit", options={"img_size": 96}),
    "deit_tiny_patch16_224": _Foreign(family="deit", options={"img_size": 96}),
    "cait_xxs24_224": _Foreign(family="cait", options={"img_size": 96}),
    "pit_ti_224": _Foreign(family="pit", size=128, options=_AT_128),
    "convit_tiny": _Foreign(family="convit", options={"img_size": 96}),
    "mixer_s32_224": _Foreign(family="mixer", options={"img_size": 96}),
    "gmlp_ti16_224": _Foreign(family="gmlp", options={"img_size": 96}),
    "swinv2_tiny_window8_256": _Foreign(family="swin v2", size=128, options=_WINDOWS_OF_4),
    "gcvit_xxtiny": _Foreign(family="gcvit", size=224),
    "coatnet_pico_rw_224": _Foreign(family="coatnet", size=128, options=_AT_128),
    "eva02_tiny_patch14_224": _Foreign(family="eva", size=84, options={"img_size": 84}),
}


def _vgg() -> nn.Module:
    """VGG's features under a small head: its own has 120 million weights."""
    features = package("torchvision.models").vgg11_bn(weights=None).features
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def _small_vit() -> nn.Module:
    model: nn.Module = package("torchvision.models").VisionTransformer(**_SMALL_VIT)
    return model


_SIGNAL = (8, 64)
_OWN = {
    "yolo_split_raw": Entry(
        family="yolo, C2f", shape=(3, 64, 64), make=partial(vision.SplitYolo, decoded=False)
    ),
    "yolo_split_decoded": Entry(
        family="yolo, C2f", shape=(3, 64, 64), make=partial(vision.SplitYolo, decoded=True)
    ),
    "yolo_csp_raw": Entry(
        family="yolo, C3", shape=(3, 64, 64), make=partial(vision.CspYolo, decoded=False)
    ),
    "yolo_csp_decoded": Entry(
        family="yolo, C3", shape=(3, 64, 64), make=partial(vision.CspYolo, decoded=True)
    ),
    "ssd_heads": Entry(family="ssd heads", shape=(3, 64, 64), make=vision.SsdHeads),
    "unet_transposed": Entry(family="u-net", shape=(3, 32, 32), make=vision.UNetTransposed),
    "super_resolution": Entry(
        family="super-resolution", shape=(3, 24, 24), make=vision.SuperResolution
    ),
    "decoder": Entry(family="decoder", shape=(3, 32, 32), make=vision.Decoder),
    "vgg11_features": Entry(family="vgg", shape=(3, 64, 64), make=_vgg, needs="torchvision"),
    "small_vit": Entry(family="vit", shape=(3, 64, 64), make=_small_vit, needs="torchvision"),
    "mobile_digits": Entry(family="digits", shape=(1, 28, 28), make=MobileDigits),
    "keyword_spotter": Entry(family="keywords, 1-D", shape=(40, 49), make=KeywordSpotter),
    "ds_cnn": Entry(family="keywords, DS-CNN", shape=(1, 49, 10), make=sequences.DsCnn),
    "tcn": Entry(family="tcn", shape=_SIGNAL, make=sequences.TemporalConvolutions),
    "signal_resnet": Entry(family="1-D resnet", shape=_SIGNAL, make=sequences.SignalResNet),
    "signal_unet": Entry(family="1-D u-net", shape=_SIGNAL, make=sequences.SignalUNet),
    "gated_convolutions": Entry(family="wavenet", shape=_SIGNAL, make=sequences.GatedConvolutions),
    "patch_transformer": Entry(
        family="transformer, pictures", shape=(3, 32, 32), make=sequences.PatchTransformer
    ),
    "encoder_stack": Entry(
        family="transformer, sequences", shape=(8, 12), make=sequences.EncoderStack
    ),
    "tiny_mixer": Entry(family="mixer", shape=(3, 32, 32), make=sequences.TinyMixer),
    "text_convolutions": Entry(
        family="text cnn", shape=(24,), tokens=50, make=sequences.TextConvolutions
    ),
    "lstm": Entry(family="recurrent", shape=_SIGNAL, make=partial(sequences.Recurrent, nn.LSTM)),
    "gru": Entry(family="recurrent", shape=_SIGNAL, make=partial(sequences.Recurrent, nn.GRU)),
}


def _entry(package: str, name: str, foreign: _Foreign) -> Entry:
    maker = {"timm": _timm, "torchvision": _torchvision}[package]
    return Entry(
        family=foreign.family,
        make=partial(maker, name, foreign.options),
        shape=(3, foreign.size, foreign.size),
        needs=package,
    )


NETWORKS: Mapping[str, Entry] = {
    **_OWN,
    **{name: _entry("torchvision", name, foreign) for name, foreign in _TORCHVISION.items()},
    **{name: _entry("timm", name, foreign) for name, foreign in _TIMM.items()},
}
