"""From moments to a compressed model: removing units, and refitting their consumers."""
