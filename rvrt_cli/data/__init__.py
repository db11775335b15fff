"""Clips with their low quality: Matlab's bicubic, degradations, data sets on disk, clips for training."""
