"""One cube against another: levels and effects apart, pooling, hold-outs, published protocols."""
