"""Operators that have no rule on purpose, and why units end at them."""

_NO_UNITS = "makes its output of numbers that are no activations, or of shapes alone"
_SEQUENCE = "works on sequences of tensors, which are not followed"
_TEXT = "works on text"
_TRAINING = "is part of training: its output is a loss"
_RANDOM = "draws random numbers"
_BODY = "holds a graph of its own, which is not entered"
_DATA = "makes an output whose length depends on what units compute"
_STATE = "reads and writes a state beside its units"
_SAME_SCALE = "has one scale for all units together"
_PACKED = "holds weights or units in blocks of a format of its own"
_DECODING = "runs whole networks as its bodies"
_SPECTRUM = "mixes the places of a signal, which units are here"

REASONS = {
    **dict.fromkeys(
        (
            *("Constant", "ConstantOfShape", "EyeLike", "Range", "BlackmanWindow"),
            *("HammingWindow", "HannWindow", "MelWeightMatrix", "AffineGrid", "ImageDecoder"),
        ),
        _NO_UNITS,
    ),
    **dict.fromkeys(
        (
            *("ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
            *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase"),
            *("SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence"),
        ),
        _SEQUENCE,
    ),
    **dict.fromkeys(
        (
            *("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"),
            *("TfIdfVectorizer", "Tokenizer"),
        ),
        _TEXT,
    ),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), _TRAINING),
    **dict.fromkeys(
        (
            *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"),
            "RandomUniformLike",
        ),
        _RANDOM,
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), _BODY),
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique"), _DATA),
    **dict.fromkeys(
        (
            *("CausalConvWithState", "LinearAttention", "TensorScatter", "AttnLSTM"),
            *("DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention", "PagedAttention"),
            *("DecoderAttention", "SparseAttention", "GatedDeltaNet"),
        ),
        _STATE,
    ),
    **dict.fromkeys(
        (
            *("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
            *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QGemm"),
            *("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearConcat"),
            *("QLinearSoftmax", "QLinearReduceMean", "QLinearWhere", "MatMulIntegerToFloat"),
            "QEmbedLayerNormalization",
        ),
        _SAME_SCALE,
    ),
    **dict.fromkeys(
        (
            *("BitCast", "GatherBlockQuantized", "MatMulBnb4", "MatMulFpQ4", "MoE", "QMoE"),
            *("NhwcConv", "NhwcFusedConv", "NhwcMaxPool", "PackedAttention"),
            *("PackedMultiHeadAttention", "RemovePadding", "RestorePadding", "GemmFloat8"),
        ),
        _PACKED,
    ),
    **dict.fromkeys(("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"), _DECODING),
    **dict.fromkeys(("STFT", "Rfft", "Irfft"), _SPECTRUM),
    **dict.fromkeys(
        ("RotaryEmbedding", "GemmaRotaryEmbedding"),
        "turns pairs of units by an angle, so that a unit cannot leave alone",
    ),
    **dict.fromkeys(
        (
            *("GroupNorm", "SkipGroupNorm", "BiasSoftmax", "BiasSplitGelu", "BiasAdd"),
            *("BiasDropout", "LongformerAttention", "GatedRelativePositionBias"),
            *("RelativePositionBias", "CDist", "ComplexMul", "ComplexMulConj", "CropAndResize"),
        ),
        "is written by optimizers for one kind of device: give the file before it was optimized",
    ),
}
"""By the name of an operator, why it has no rule."""

MULTIPLYING = frozenset(["CausalConvWithState", "LinearAttention", "STFT"])
"""Operators of ONNX without a rule that multiply tensors."""
WITHOUT_PRODUCTS = frozenset(
    [
        *("DynamicQuantizeLinear", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "BiasDropout"),
        *("QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool", "BiasAdd"),
        *("QLinearConcat", "QLinearSoftmax", "QLinearReduceMean", "QLinearWhere", "GroupNorm"),
        *("SkipGroupNorm", "BiasSoftmax", "BiasSplitGelu", "CropAndResize", "NhwcMaxPool"),
        *("GatherBlockQuantized", "RotaryEmbedding", "GemmaRotaryEmbedding", "Tokenizer"),
        *("RemovePadding", "RestorePadding", "QEmbedLayerNormalization", "Inverse"),
    ]
)
"""Operators of further domains without a rule that multiply no matrices."""
