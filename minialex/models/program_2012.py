"""AlexNet as it was run -- the convolutions of Krizhevsky's own programs, of 2012 and of 2014.

The program that won ImageNet 2012 is public since 2025, and its network is not quite the one that
the paper describes.  Its file for the winning network says, layer by layer:

    conv1     48 filters a tower, 11 x 11, stride 4, no padding, on 224 x 224 pixels; no ReLU
    rnorm1    LRN of the signed responses, within a tower
    pool1     maximum of 3 x 3, stride 2, and only now the ReLU
    conv2     128 filters a tower, 5 x 5, padding 2, and ReLU
    rnorm2    LRN across the maps of a tower
    cnorm2    LRN within each map, over 5 x 5 places (lrn_2d.py)
    pool2     as pool1, without a ReLU
    conv3     192 filters a tower, 3 x 3, padding 1, of all maps of both towers; ReLU
    conv4     192 filters a tower, 3 x 3, padding 1, and ReLU
    conv5     128 filters a tower, 3 x 3, padding 1; no ReLU
    pool3     as pool1, with the ReLU

and then the dense layers that the paper has.  What is behind that, and where it is written:

    55 places   An image of 224 pixels has 1 + ceil((224 - 11) / 4) = 55 places for a window: the
                last one hangs 3 pixels over the edge and sees zeros (layer.py, "modulesX").
    alpha       is "scale" = 0.0001, divided by the 5 maps, so 2e-5 (layer-params-145.cfg; layer.py,
                NormLayerParser); k is "minDiv" = 2.  Within a map: 0.001 / 25, and k = 1.
    init        init="program": N(0, 0.01^2), but N(0, 0.03^2) in conv3, conv4, conv5; biases as
                in the paper (initW and initB in layers-145.cfg).
    dropout     multiplies by 0 or 1 in training and by 1/2 in evaluation (layer.cu,
                HiddenSexLayer).  Here it is ours, 0 or 2, and 1 (layers/dropout.py), so that fc7
                and fc8 see twice as much in both; train/recipes.py tells what that changes.

A ReLU after a maximum gives what a ReLU before it gives, on a quarter of the numbers.  After LRN it
gives something else: a response far below 0 quietens its neighbours as well.

"owt2014" is Krizhevsky's next network, one tower for one GPU (cuda-convnet2, layers-imagenet-1gpu):
fewer filters, no LRN within maps, the rest as above.  fc8's biases begin with -7 there, which
changes nothing: softmax sees differences alone, so ours begin with 0.

References: github.com/computerhistory/AlexNet-Source-Code, layers/layers-145.cfg and layer.py;
github.com/akrizhevsky/cuda-convnet2, layers/layers-imagenet-1gpu.cfg.
"""

from minialex.layers import LocalResponseNorm, LocalResponseNorm2d, Sequential

VARIANTS = {  # as in alexnet.py
    "2012-program": ((96, 256, 384, 384, 256), 2, 0, True, 224),
    "owt2014": ((64, 192, 384, 256, 256), 1, 0, True, 224),
}


def features(make, filters, G, padding, lrn):
    """Image (N, 224, 224, 3) -> maps (N, 6, 6, 256), in G towers."""
    (c1, c2, c3, c4, c5), (pool, K), act = filters, make.pooling, make.act
    norm1, norm2 = [[LocalResponseNorm(5, 1e-4 / 5, 0.75, k=2, groups=G)] * lrn for _ in range(2)]
    within = [LocalResponseNorm2d(5, 1e-3 / 25, 0.75, k=1)] if lrn and G == 2 else []
    return Sequential(
        make.conv(3, c1, 11, stride=4, padding=padding, ceil_mode=True), *norm1, pool(K, 2), act(),
        make.conv(c1, c2, 5, G, padding=2), act(), *norm2, *within, pool(K, 2),
        make.conv(c2, c3, 3, padding=1), act(),
        make.conv(c3, c4, 3, G, padding=1), act(),
        make.conv(c4, c5, 3, G, padding=1), pool(K, 2), act(),
    )  # fmt: skip
