"""Tasks: classify, multilabel, regress, segment, heatmap, embed, generate, detect."""
