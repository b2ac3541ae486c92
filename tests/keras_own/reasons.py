"""Why a test of Keras that passes in one process does not on two workers, by a part of its name."""

_RESUME = "by design: `BackupAndRestore` saves nothing in a job, whose own checkpoints take its place"
_FIXED = (
    "its model's input has a fixed batch size (`batch_shape`), which is refused: each worker gets a part of a batch"
)
_SUMMARY = (
    "by design of TensorFlow: `tf.summary` inside of a step writes on the first replica alone, and the test looks on"
    " each worker"
)
_REPLICA = "Keras refuses `LossScaleOptimizer.apply` outside of a replica; a step of `fit` is inside one"
_DEVICES = "the test makes a strategy of local devices in a process whose devices are already a cluster's"

REASONS: dict[str, str] = {
    "backup_and_restore_test.py": _RESUME,
    "TestTensorBoardV2::test_custom_summary": _SUMMARY,
    "LossScaleOptimizerTest": _REPLICA,
    "LambdaCallbackTest::test_lambda_callback": _FIXED,
    "ModelCheckpointTest::test_model_checkpoint_loading": _FIXED,
    "SwapEMAWeightsTest::test_swap_ema_weights_with_tf_distribute": _DEVICES,
}
