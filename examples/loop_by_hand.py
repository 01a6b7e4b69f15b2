"""The training loop by hand: data, network, optimizer, and four lines for each batch.

A small network learns to tell drawn cats from drawn dogs, 28 x 28 pixels each.  `mx.fit` would do
all of this in one call, and keep checkpoints besides; this is what goes on inside.

    python examples/loop_by_hand.py          8 epochs, about 20 seconds
    python examples/loop_by_hand.py 20       longer
"""

import sys

import minialex as mx

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 8
mx.seed(0)  # the same first weights each time

# A list of (image, label) pairs is a dataset.  These are drawn once, and kept in memory.
drawings = list(mx.Drawings(3500, size=28))
mirrored = mx.transforms.Compose(
    [mx.transforms.RandomHorizontalFlip(), mx.transforms.ToArray()]  # bytes to numbers in 0..1
)
train = mx.DataLoader(drawings[:3000], batch_size=50, transform=mirrored, shuffle=True)
test = mx.DataLoader(drawings[3000:], batch_size=100)

model = mx.Sequential(  # images are (N, 28, 28, 3): channels come last
    mx.Conv2d(3, 16, 5), mx.ReLU(), mx.MaxPool2d(2),  # (N, 12, 12, 16)
    mx.Conv2d(16, 32, 5), mx.ReLU(), mx.MaxPool2d(2),  # (N, 4, 4, 32)
    mx.Flatten(),
    mx.Linear(4 * 4 * 32, 120), mx.ReLU(),
    mx.Linear(120, 2),  # two scores: cat, dog
)  # fmt: skip
optimizer = mx.Adam(model, lr=1e-3)
mx.accelerate(model, optimizer)  # the same gradients, only faster; try it without

loss, accuracy = mx.evaluate(model, test)
print(f"untrained   test loss {loss:.3f}, accuracy {accuracy:.1%}: it guesses")

for epoch in range(1, epochs + 1):
    total = 0.0
    for images, labels in train:
        scores, cache = model.forward(images)
        loss, dscores = mx.softmax_cross_entropy(scores, labels)  # the loss and its derivative
        model.backward(dscores, cache, optimizer.grad)  # the derivative by every parameter
        optimizer.step()
        total += float(loss)
    loss, accuracy = mx.evaluate(model, test)
    print(
        f"epoch {epoch:2}    train loss {total / len(train):.3f}"
        f"   test loss {loss:.3f}, accuracy {accuracy:.1%}"
    )

images, labels = next(iter(test))
said = model(images).argmax(axis=1)
print("shown  ", *(("cat", "dog")[c] for c in labels[:16]))
print("it says", *(("cat", "dog")[c] for c in said[:16]))
