"""The program's random numbers, written a second time: jobs/random.h says what they are."""

import math

import numpy as np

MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
AUGMENTATION, EVALUATION = 3, 7


def scramble(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


class Random:
    def __init__(self, seed, purpose, a, b):
        key = scramble(seed ^ scramble(purpose))
        self.key = (key & MASK32, (key >> 32) ^ (a >> 32))
        self.counter = [0, a & MASK32, b & MASK32, b >> 32]
        self.block = []

    def refill(self):
        c, (k0, k1) = list(self.counter), self.key
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k0, p1 & MASK32, (p0 >> 32) ^ c[3] ^ k1, p0 & MASK32]
            k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
        self.counter[0] += 1
        self.block = c

    def bits(self):
        if not self.block:
            self.refill()
        return self.block.pop(0)

    def uniform(self, low=0.0, high=1.0):
        share = (((self.bits() >> 5) << 26) | (self.bits() >> 6)) * 2.0**-53
        return low + (high - low) * share

    def normal(self, mean, deviation):
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        return mean + deviation * radius * math.cos(2.0 * math.pi * self.uniform())

    def chance(self, probability):
        return self.uniform() < probability

    def integer(self, low, high):
        limit = MASK64 - MASK64 % (high - low)
        while (value := (self.bits() << 32) | self.bits()) >= limit:
            pass
        return low + value % (high - low)


def resized_crop_box(width, height, scale, ratio, random):
    """Top, left, height and width, as torchvision's RandomResizedCrop.get_params finds them from these draws."""
    area = width * height
    for _ in range(10):
        target = random.uniform(*scale) * area
        aspect = math.exp(random.uniform(*np.log(ratio)))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = random.integer(0, height - h + 1)
            return top, random.integer(0, width - w + 1), h, w
    shape = width / height
    w, h = width, height
    if shape < min(ratio):
        h = round(w / min(ratio))
    elif shape > max(ratio):
        w = round(h * max(ratio))
    return (height - h) // 2, (width - w) // 2, h, w
