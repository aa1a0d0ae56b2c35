"""The sites, couplings and skips of each network of the zoo, checked by hand against its code.

Names are those of torch's tracing exporter.

A picture has a line for each site (layer: producing operator > operator at the hook point, units,
spatial size, -> consumers), one for each reason why its units cannot be followed (!), one for each
merge point (=, with the offset of each part that does not begin at 0), and one for each skipped
node (-).
"""

# ruff: noqa: E501  # names are as long as torch makes them

PICTURES = {
    "AlexNet with LRN": """
        conv1: Conv>Relu 8, 16x16 -> /conv2/Conv
        ! /norm/AveragePool: AveragePool pools over axis 2, where units lie
        conv2: Conv>Relu 12, 8x8 -> /fc3/Gemm
        ! /norm_1/AveragePool: AveragePool pools over axis 2, where units lie
        fc3: Gemm>Relu 16, - -> /fc4/Gemm
        - /norm/If: If holds a graph of its own, which is not entered
        - /norm_1/If: If holds a graph of its own, which is not entered
        - /fc4/Gemm: OUT
        """,
    "VGG": """
        0: Conv>Relu 6, 16x16 -> /2/Conv
        2: Conv>Relu 6, 16x16 -> /5/Conv
        5: Conv>Relu 8, 8x8 -> /7/Conv
        7: Conv>Relu 8, 8x8 -> /11/Gemm
        11: Gemm>Relu 12, - -> /14/Gemm
        - /14/Gemm: OUT
        """,
    "VGG-BN": """
        0: Conv>Relu 6, 16x16 -> /3/Conv
        3: Conv>Relu 6, 16x16 -> /7/Conv
        7: Conv>Relu 8, 8x8 -> /10/Conv
        10: Conv>Relu 8, 8x8 -> /15/Gemm
        15: Gemm>Relu 12, - -> /18/Gemm
        - /18/Gemm: OUT
        """,
    "ResNet basic": """
        0.0: Conv>Relu 6, 16x16 -> /1/a/Conv
        1.a: Conv>Relu 6, 16x16 -> /1/b/Conv
        1.b: Conv>Relu 6, 16x16 -> /2/a/Conv /2/skip/skip.0/Conv
        2.a: Conv>Relu 8, 8x8 -> /2/b/Conv
        2.b: Conv>Relu 8, 8x8 by /2/b/Conv /2/skip/skip.0/Conv -> /3/a/Conv
        3.a: Conv>Relu 8, 8x8 -> /3/b/Conv
        3.b: Conv>Relu 8, 8x8 -> /4/4.2/Gemm
        = sum 1.b 0.0
        = sum 3.b 2.b
        - /4/4.2/Gemm: OUT
        """,
    "ResNet bottleneck": """
        0.0: Conv>Relu 6, 16x16 -> /1/a/a.0/Conv /1/skip/Conv
        1.a.0: Conv>Relu 4, 16x16 -> /1/b/b.0/Conv
        1.b.0: Conv>Relu 4, 16x16 -> /1/c/Conv
        1.c: Conv>Relu 12, 16x16 by /1/c/Conv /1/skip/Conv -> /2/a/a.0/Conv
        2.a.0: Conv>Relu 4, 16x16 -> /2/b/b.0/Conv
        2.b.0: Conv>Relu 4, 16x16 -> /2/c/Conv
        2.c: Conv>Relu 12, 16x16 -> /3/3.2/Gemm
        = sum 2.c 1.c
        - /3/3.2/Gemm: OUT
        """,
    "DenseNet": """
        stem: Conv>Conv 6, 16x16 -> /c1/Conv /c2/Conv /ct/Conv
        c1: Conv>Conv 4, 16x16 -> /c2/Conv /ct/Conv
        c2: Conv>Conv 4, 16x16 -> /ct/Conv
        ct: Conv>Conv 7, 16x16 -> /c3/Conv /head/head.2/Gemm
        c3: Conv>Conv 4, 8x8 -> /head/head.2/Gemm
        = concat stem c1+6
        = concat stem c1+6 c2+10
        = concat ct c3+7
        - /head/head.2/Gemm: OUT
        """,
    "Inception": """
        stem.0: Conv>Relu 6, 16x16 -> /pool/pool.0/Conv /one/one.0/Conv /three/three.0/three.0.0/Conv /five/five.0/five.0.0/Conv
        pool.0: Conv>Relu 3, 16x16 -> /last/last.0/Conv
        one.0: Conv>Relu 4, 16x16 -> /last/last.0/Conv
        three.0.0: Conv>Relu 3, 16x16 -> /three/three.1/three.1.0/Conv
        three.1.0: Conv>Relu 5, 16x16 -> /last/last.0/Conv
        five.0.0: Conv>Relu 2, 16x16 -> /five/five.1/five.1.0/Conv
        five.1.0: Conv>Relu 3, 16x16 -> /last/last.0/Conv
        last.0: Conv>Relu 8, 16x16 -> /head/head.2/Gemm
        = concat one.0 three.1.0+4 five.1.0+9 pool.0+12
        - /head/head.2/Gemm: OUT
        """,
    "MobileNet v2": """
        0.0: Conv>Clip 6, 16x16 -> /1/up/up.0/Conv
        1.up.0: Conv>Clip 12, 16x16 -> /1/deep/deep.0/Conv
        1.deep.0: Conv>Clip 12, 16x16 -> /1/down/down.0/Conv
        1.down.0: Conv>Add 6, 16x16 -> /2/up/up.0/Conv
        2.up.0: Conv>Clip 12, 16x16 -> /2/deep/deep.0/Conv
        2.deep.0: Conv>Clip 12, 16x16 -> /2/down/down.0/Conv
        2.down.0: Conv>Conv 8, 16x16 -> /3/3.0/Conv
        3.0: Conv>Clip 16, 16x16 -> /4/4.2/Gemm
        = sum 0.0 1.down.0
        = depthwise 1.up.0 1.deep.0
        = depthwise 2.up.0 2.deep.0
        - /4/4.2/Gemm: OUT
        """,
    "MobileNet v3": """
        0.0: Conv>HardSwish 6, 16x16 -> /1/up/up.0/Conv
        1.up.0: Conv>HardSwish 12, 16x16 -> /1/deep/deep.0/Conv
        1.deep.0: Conv>HardSwish 12, 16x16 -> /1/squeeze/fc1/Conv /1/down/down.0/Conv
        1.squeeze.fc1: Conv>Relu 3, 1x1 -> /1/squeeze/fc2/Conv
        1.squeeze.fc2: Conv>Sigmoid 12, 1x1 -> /1/down/down.0/Conv
        1.down.0: Conv>Add 6, 16x16 -> /2/up/up.0/Conv
        2.up.0: Conv>Relu 12, 16x16 -> /2/deep/deep.0/Conv
        2.deep.0: Conv>Relu 12, 16x16 -> /2/down/down.0/Conv
        2.down.0: Conv>Conv 8, 16x16 -> /3/3.0/Conv
        3.0: Conv>HardSwish 16, 16x16 -> /4/4.2/Gemm
        = sum 0.0 1.down.0
        = depthwise 1.up.0 1.deep.0
        = product 1.deep.0 1.squeeze.fc2
        = depthwise 2.up.0 2.deep.0
        - /4/4.2/Gemm: OUT
        """,
    "EfficientNet": """
        0.0: Conv>Mul 6, 16x16 -> /1/up/up.0/Conv
        1.up.0: Conv>Mul 12, 16x16 -> /1/deep/deep.0/Conv
        1.deep.0: Conv>Mul 12, 16x16 -> /1/squeeze/fc1/Conv /1/down/down.0/Conv
        1.squeeze.fc1: Conv>Relu 3, 1x1 -> /1/squeeze/fc2/Conv
        1.squeeze.fc2: Conv>Sigmoid 12, 1x1 -> /1/down/down.0/Conv
        1.down.0: Conv>Add 6, 16x16 -> /2/up/up.0/Conv
        2.up.0: Conv>Mul 12, 16x16 -> /2/deep/deep.0/Conv
        2.deep.0: Conv>Mul 12, 16x16 -> /2/squeeze/fc1/Conv /2/down/down.0/Conv
        2.squeeze.fc1: Conv>Relu 3, 1x1 -> /2/squeeze/fc2/Conv
        2.squeeze.fc2: Conv>Sigmoid 12, 1x1 -> /2/down/down.0/Conv
        2.down.0: Conv>Add 6, 16x16 -> /3/3.0/Conv
        3.0: Conv>Mul 16, 16x16 -> /4/4.2/Gemm
        = sum 0.0 1.down.0
        = sum 1.down.0 2.down.0
        = depthwise 1.up.0 1.deep.0
        = product 1.deep.0 1.squeeze.fc2
        = depthwise 2.up.0 2.deep.0
        = product 2.deep.0 2.squeeze.fc2
        - /4/4.2/Gemm: OUT
        """,
    "ShuffleNet": """
        0.0: Conv>Relu 8, 16x16 -> /1/a/a.0/Conv /2/a/a.0/Conv /3/3.0/Conv
        1.a.0: Conv>Relu 4, 16x16 -> /1/b/Conv
        1.b: Conv>Conv 4, 16x16 -> /1/c/c.0/Conv
        1.c.0: Conv>Relu 4, 16x16 -> /2/a/a.0/Conv /3/3.0/Conv
        2.a.0: Conv>Relu 4, 16x16 -> /2/b/Conv
        2.b: Conv>Conv 4, 16x16 -> /2/c/c.0/Conv
        2.c.0: Conv>Relu 4, 16x16 -> /3/3.0/Conv
        3.0: Conv>Relu 12, 16x16 -> /4/4.2/Gemm
        = concat 0.0 1.c.0+4
        = concat 0.0 1.c.0+1 2.c.0+4
        = depthwise 1.a.0 1.b
        = depthwise 2.a.0 2.b
        - /4/4.2/Gemm: OUT
        """,
    "SqueezeNet": """
        0: Conv>Relu 6, 16x16 -> /3/squeeze/Conv
        3.squeeze: Conv>Relu 3, 8x8 -> /3/one/Conv /3/three/Conv
        3.one: Conv>Relu 4, 8x8 -> /4/squeeze/Conv
        3.three: Conv>Relu 4, 8x8 -> /4/squeeze/Conv
        4.squeeze: Conv>Relu 3, 8x8 -> /4/one/Conv /4/three/Conv
        4.one: Conv>Relu 5, 8x8 -> /6/Conv
        4.three: Conv>Relu 5, 8x8 -> /6/Conv
        = concat 3.one 3.three+4
        = concat 4.one 4.three+5
        - /6/Conv: OUT
        """,
    "U-Net": """
        down1.0: Conv>Relu 4, 16x16 -> /down2/down2.0/Conv /join1/join1.0/Conv
        down2.0: Conv>Relu 6, 8x8 -> /mid/mid.0/Conv /join2/join2.0/Conv
        mid.0: Conv>Relu 8, 4x4 -> /up2/ConvTranspose
        up2: ConvTranspose>ConvTranspose 6, 8x8 -> /join2/join2.0/Conv
        join2.0: Conv>Relu 6, 8x8 -> /up1/ConvTranspose
        up1: ConvTranspose>ConvTranspose 4, 16x16 -> /join1/join1.0/Conv
        join1.0: Conv>Relu 4, 16x16 -> /last/Conv
        = concat down1.0 up1+4
        = concat down2.0 up2+6
        - /last/Conv: OUT
        """,
    "ConvNeXt": """
        0: Conv>Conv 6, 4x4 -> /1/deep/Conv /2/deep/Conv /3/3.2/Gemm
        1.deep: Conv>Conv 6, 4x4 -> /1/up/MatMul
        1.up: MatMul>Mul 24 on axis 3, 4x4 -> /1/down/MatMul
        1.down: MatMul>Mul 6 on axis 3, 4x4 -> /2/deep/Conv /3/3.2/Gemm
        2.deep: Conv>Conv 6, 4x4 -> /2/up/MatMul
        2.up: MatMul>Mul 24 on axis 3, 4x4 -> /2/down/MatMul
        2.down: MatMul>Mul 6 on axis 3, 4x4 -> /3/3.2/Gemm
        = depthwise 0 1.deep
        = sum 0 1.down
        = depthwise 0 1.down 2.deep
        = sum 0 1.down 2.down
        - /3/3.2/Gemm: OUT
        """,
    "Conv-ReLU-BN": """
        0: Conv>Relu 6, 16x16 -> /3/Conv
        3: Conv>Relu 8, 16x16 -> /6/6.2/Gemm
        - /6/6.2/Gemm: OUT
        """,
    "GroupNorm": """
        0: Conv>Relu 8, 16x16 -> /3/Conv
        3: Conv>Mul 6, 16x16 -> /6/6.2/Gemm
        - /6/6.2/Gemm: OUT
        """,
    "PReLU": """
        0: Conv>PRelu 6, 16x16 -> /2/Conv
        2: Conv>PRelu 8, 16x16 -> /4/4.2/Gemm
        - /4/4.2/Gemm: OUT
        """,
    "GLU of maps": """
        a: Conv>Conv 12, 16x16 -> /b/Conv
        b: Conv>Conv 10, 16x16 -> /head/head.2/Gemm
        = product a a
        = product b b
        - /head/head.2/Gemm: OUT
        """,
    "1-D convolutions": """
        0: Conv>Relu 6, 24 -> /4/Conv
        4: Conv>Relu 8, 10 -> /8/Gemm
        - /8/Gemm: OUT
        """,
    "3-D convolutions": """
        0: Conv>Relu 4, 4x4x4 -> /5/Gemm
        5: Gemm>Relu 6, - -> /7/Gemm
        - /7/Gemm: OUT
        """,
    "MLP": """
        0: Gemm>Relu 12, - -> /2/Gemm
        2: Gemm>Tanh 8, - -> /5/Gemm
        - /5/Gemm: OUT
        """,
    "GLU": """
        a: Gemm>Gemm 16, - -> /b/Gemm
        = product a a
        - /b/Gemm: OUT
        """,
    "MLP-Mixer": """
        stem: Conv>Conv 6, 4x4 -> /up2/MatMul
        up1: MatMul>Mul 8 on axis 2, 6 -> /down1/MatMul
        down1: MatMul>Add 16 on axis 2, 6 -> nobody
        ! /ReduceMean: ReduceMean over the axis that units or examples lie on
        up2: MatMul>Mul 12 on axis 2, 16 -> /down2/MatMul
        down2: MatMul>Add 6 on axis 2, 16 -> /head/Gemm
        = sum stem down2
        - /head/Gemm: OUT
        """,
    "ViT": """
        patch: Conv>Conv 8, 4x4 -> /encoder/layers.0/self_attn/MatMul /encoder/layers.0/linear1/MatMul
        encoder.layers.0.self_attn: MatMul>Transpose 24 on axis 2, 17 -> /encoder/layers.0/self_attn/MatMul_1 /encoder/layers.0/self_attn/Gemm
        encoder.layers.0.self_attn.out_proj: MatMul>Transpose 8 on axis 2, 17 -> /encoder/layers.0/linear1/MatMul
        encoder.layers.0.linear1: MatMul>Mul 16 on axis 2, 17 -> /encoder/layers.0/linear2/MatMul
        encoder.layers.0.linear2: MatMul>Add 8 on axis 2, 17 -> /encoder/layers.1/self_attn/MatMul /encoder/layers.1/linear1/MatMul
        encoder.layers.1.self_attn: MatMul>Transpose 24 on axis 2, 17 -> /encoder/layers.1/self_attn/MatMul_1 /encoder/layers.1/self_attn/Gemm
        encoder.layers.1.self_attn.out_proj: MatMul>Transpose 8 on axis 2, 17 -> /encoder/layers.1/linear1/MatMul
        encoder.layers.1.linear1: MatMul>Mul 16 on axis 2, 17 -> /encoder/layers.1/linear2/MatMul
        encoder.layers.1.linear2: MatMul>Add 8 on axis 2, 17 -> /head/Gemm
        = sum patch encoder.layers.0.self_attn.out_proj
        = sum patch encoder.layers.0.self_attn.out_proj encoder.layers.0.linear2
        = sum encoder.layers.0.linear2 encoder.layers.1.self_attn.out_proj
        = sum encoder.layers.0.linear2 encoder.layers.1.self_attn.out_proj encoder.layers.1.linear2
        = inner encoder.layers.0.self_attn encoder.layers.0.self_attn
        = inner encoder.layers.1.self_attn encoder.layers.1.self_attn
        - /Add: a number of its own for each place: no units
        - /head/Gemm: OUT
        """,
    "BERT-like": """
        encoder.layers.0.self_attn: MatMul>Transpose 24 on axis 2, 10 -> /encoder/layers.0/self_attn/MatMul_1 /encoder/layers.0/self_attn/Gemm
        encoder.layers.0.self_attn.out_proj: MatMul>Transpose 8 on axis 2, 10 -> /encoder/layers.0/linear1/MatMul
        encoder.layers.0.linear1: MatMul>Mul 16 on axis 2, 10 -> /encoder/layers.0/linear2/MatMul
        encoder.layers.0.linear2: MatMul>Add 8 on axis 2, 10 -> /encoder/layers.1/self_attn/MatMul /encoder/layers.1/linear1/MatMul
        encoder.layers.1.self_attn: MatMul>Transpose 24 on axis 2, 10 -> /encoder/layers.1/self_attn/MatMul_1 /encoder/layers.1/self_attn/Gemm
        encoder.layers.1.self_attn.out_proj: MatMul>Transpose 8 on axis 2, 10 -> /encoder/layers.1/linear1/MatMul
        encoder.layers.1.linear1: MatMul>Mul 16 on axis 2, 10 -> /encoder/layers.1/linear2/MatMul
        encoder.layers.1.linear2: MatMul>Add 8 on axis 2, 10 -> /pooler/Gemm
        pooler: Gemm>Tanh 8, - -> /head/Gemm
        = inner encoder.layers.0.self_attn encoder.layers.0.self_attn
        = sum encoder.layers.0.self_attn.out_proj encoder.layers.0.linear2
        = sum encoder.layers.0.linear2 encoder.layers.1.self_attn.out_proj
        = sum encoder.layers.0.linear2 encoder.layers.1.self_attn.out_proj encoder.layers.1.linear2
        = inner encoder.layers.1.self_attn encoder.layers.1.self_attn
        - /words/Gather: looks rows of a table up: no unit is computed by its weights
        - /Add: a number of its own for each place: no units
        - /head/Gemm: OUT
        """,
    "GPT-like": """
        blocks.0.attend.qkv: MatMul>Add 24 on axis 2, 6 -> /blocks/blocks.0/attend/MatMul /blocks/blocks.0/attend/out/MatMul
        blocks.0.attend.out: MatMul>Add 8 on axis 2, 6 -> /blocks/blocks.0/up/MatMul
        blocks.0.up: MatMul>Mul 16 on axis 2, 6 -> /blocks/blocks.0/down/MatMul
        blocks.0.down: MatMul>Add 8 on axis 2, 6 -> /blocks/blocks.1/attend/qkv/MatMul
        blocks.1.attend.qkv: MatMul>Add 24 on axis 2, 6 -> /blocks/blocks.1/attend/MatMul /blocks/blocks.1/attend/out/MatMul
        blocks.1.attend.out: MatMul>Add 8 on axis 2, 6 -> /blocks/blocks.1/up/MatMul
        blocks.1.up: MatMul>Mul 16 on axis 2, 6 -> /blocks/blocks.1/down/MatMul
        blocks.1.down: MatMul>Add 8 on axis 2, 6 -> /head/MatMul
        = inner blocks.0.attend.qkv blocks.0.attend.qkv
        = sum blocks.0.attend.out blocks.0.down
        = sum blocks.0.down blocks.1.attend.out
        = sum blocks.1.attend.out blocks.1.down
        = inner blocks.1.attend.qkv blocks.1.attend.qkv
        - /words/Gather: looks rows of a table up: no unit is computed by its weights
        - /Add: a number of its own for each place: no units
        - /head/MatMul: OUT
        """,
    "Llama-like": """
        stem: MatMul>Add 8 on axis 2, 7 -> /block/q/MatMul /block/k/MatMul /block/v/MatMul
        block.q: MatMul>MatMul 8 on axis 2, 7 -> /block/MatMul
        block.k: MatMul>MatMul 8 on axis 2, 7 -> /block/MatMul
        block.v: MatMul>MatMul 8 on axis 2, 7 -> /block/o/MatMul
        block.o: MatMul>Add 8 on axis 2, 7 -> /block/gate/MatMul /block/up/MatMul
        block.gate: MatMul>Mul 12 on axis 2, 7 -> /block/down/MatMul
        block.up: MatMul>MatMul 12 on axis 2, 7 -> /block/down/MatMul
        block.down: MatMul>Add 8 on axis 2, 7 -> /head/Gemm
        = sum stem block.o
        = sum block.o block.down
        = inner block.q block.k
        = product block.gate block.up
        - /head/Gemm: OUT
        """,
    "LSTM classifier": """
        stem: MatMul>Relu 6 on axis 2, 4 -> /cell/LSTM
        fc: Gemm>Relu 8, - -> /head/Gemm
        - /cell/LSTM: recurrent: its units live in a state, which is not looked into
        - /head/Gemm: OUT
        """,
    "siamese": """
        a: Gemm>Relu 8, - -> /b/Gemm
        b: Gemm>Relu 5, - -> /head/Gemm
        a#2: Gemm>Relu 8, - -> /b_1/Gemm
        b#2: Gemm>Relu 5, - -> /head/Gemm
        = shared a a#2
        = shared a a#2
        = sum b b#2
        = shared b b#2
        - /head/Gemm: OUT
        """,
    "two inputs": """
        image: Conv>Relu 4, 6x6 -> /join/Gemm
        row: Gemm>Tanh 6, - -> /join/Gemm
        join: Gemm>Relu 8, - -> /head/Gemm
        = concat image row+4
        - /head/Gemm: OUT
        """,
}
