"""Make the layout of a model: which blocks its architecture has, with the names and shapes of their tensors (GG-4).

Letters of the shapes: V vocab, H hidden, F ffn, D head_dim, A heads, K key/value heads, E experts, L positions that a
short convolution reads.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, replace

from refruntime.model.architectures.base import ABSENT, OPTIONAL, REQUIRED, Architecture, Presence
from refruntime.model.hyperparameters import ExpertParameters, Hyperparameters, RecurrentParameters
from refruntime.model.layout.tree import (
    AttentionLayout,
    Convolution,
    DeltaNet,
    Experts,
    ExpertsBeside,
    FeedForward,
    Layer,
    LayerInput,
    LayerInputs,
    MatrixSlot,
    ModelLayout,
    ModelTree,
    NormSlot,
    ProjectionSlot,
    StateSpace,
    TableSlot,
    VectorSlot,
)

OtherMixer = (
    Convolution[ProjectionSlot, VectorSlot]
    | StateSpace[ProjectionSlot, VectorSlot]
    | DeltaNet[ProjectionSlot, VectorSlot]
)


AnyFeedForward = (
    FeedForward[ProjectionSlot]
    | Experts[ProjectionSlot, VectorSlot]
    | ExpertsBeside[ProjectionSlot, NormSlot, VectorSlot]
)


def model_layout(architecture: Architecture, dimensions: Hyperparameters, present: Container[str]) -> ModelLayout:
    """Return the layout of a model; `present` decides between forms of which a file holds one."""
    return _Layout(architecture, dimensions, present).model()


def layout_within(architecture: Architecture, dimensions: Hyperparameters, present: Collection[str]) -> ModelLayout:
    """Return as much of a layout as shows every tensor that a file lacks or should not have, whatever it claims.

    Every layer needs a tensor of its own, so of more layers than there are tensors the first absent one lies in the
    first of them; all experts lie in the stacks of one.
    """
    layers = min(dimensions.layer_count, len(present) + 1)
    return _Layout(architecture, replace(dimensions, layer_count=layers), present, most_experts=1).model()


def layer_layouts(
    architecture: Architecture, dimensions: Hyperparameters, present: Container[str]
) -> tuple[Layer[ProjectionSlot, NormSlot, VectorSlot], ...]:
    """Return the layouts of the layers alone."""
    layout = _Layout(architecture, dimensions, present)
    return tuple(layout.layer(index) for index in range(dimensions.layer_count))


@dataclass(frozen=True)
class _Layout:
    architecture: Architecture
    dimensions: Hyperparameters
    present: Container[str]
    most_experts: int | None = None

    def model(self) -> ModelLayout:
        architecture, sizes = self.architecture, self.dimensions
        hidden, vocab = sizes.hidden_size, sizes.vocab_size
        positions = TableSlot("position_embd", (sizes.learned_positions, hidden))
        return ModelTree(
            embedding=TableSlot("token_embd", (vocab, hidden)),
            positions=positions if architecture.positions == "learned" else None,
            output_norm=self.norm(architecture.output_norm, hidden),
            output=self.output((vocab, hidden)),
            rope_factors=self.rope_factors(),
            layer_inputs=self.layer_inputs(),
            layers=tuple(self.layer(index) for index in range(sizes.layer_count)),
        )

    def output(self, shape: tuple[int, int]) -> ProjectionSlot:
        """Return the last projection: a matrix of its own where the architecture and the file have one."""
        presence, bias = self.architecture.output, self.architecture.output_bias
        own = presence == REQUIRED or (presence == OPTIONAL and "output.weight" in self.present)
        return ProjectionSlot((MatrixSlot("output" if own else "token_embd", shape, bias, "output"),))

    def layer_inputs(self) -> LayerInputs[ProjectionSlot, NormSlot, TableSlot] | None:
        sizes, each = self.dimensions, self.dimensions.layer_input_size
        if not each:
            return None
        whole = each * sizes.layer_count
        return LayerInputs(
            table=TableSlot("per_layer_token_embd", (sizes.vocab_size, whole)),
            projection=_matrices("per_layer_model_proj", shape=(whole, sizes.hidden_size)),
            norm=self.norm("per_layer_proj_norm", each),
        )

    def layer_input(self, block: str) -> LayerInput[ProjectionSlot, NormSlot] | None:
        hidden, each = self.dimensions.hidden_size, self.dimensions.layer_input_size
        if not each:
            return None
        return LayerInput(
            gate=_matrices(block + "inp_gate", shape=(each, hidden)),
            output=_matrices(block + "proj", shape=(hidden, each)),
            norm=self.norm(block + "post_norm", hidden),
        )

    def rope_factors(self) -> tuple[VectorSlot, ...]:
        rotated = self.dimensions.rotated
        if self.architecture.rope_factors == "one set":
            return (VectorSlot("rope_freqs.weight", (rotated // 2,), False),)
        if self.architecture.rope_factors == "long and short":
            names = ("rope_factors_long.weight", "rope_factors_short.weight")
            either = any(name in self.present for name in names)
            return tuple(VectorSlot(name, (rotated // 2,), either) for name in names)
        return ()

    def layer(self, index: int) -> Layer[ProjectionSlot, NormSlot, VectorSlot]:
        block, architecture, sizes = f"blk.{index}.", self.architecture, self.dimensions
        before, behind = architecture.norm_before, architecture.norm_behind
        own_norm = before and not (sizes.parallel and architecture.parallel_norm == "shared")
        hidden = sizes.hidden_size
        return Layer(
            attn_norm=self.norm(block + "attn_norm", hidden) if before else None,
            mixer=self.attention(block, index)
            if sizes.recurrent is None or sizes.recurrent.attends(index)
            else self.other_mixer(block, sizes.recurrent),
            post_attention_norm=self.norm(block + architecture.norms_behind[0], hidden) if behind else None,
            ffn_norm=self.norm(block + architecture.ffn_norm, hidden) if own_norm else None,
            feed_forward=self.feed_forward(block, index),
            post_ffw_norm=self.norm(block + architecture.norms_behind[1], hidden) if behind else None,
            input=self.layer_input(block),
            scale=VectorSlot(block + "layer_output_scale.weight", (1,), False) if architecture.layer_inputs else None,
        )

    def attention(self, block: str, layer: int) -> AttentionLayout[ProjectionSlot, NormSlot, VectorSlot]:
        architecture, sizes = self.architecture, self.dimensions
        hidden, head_dim, owner = sizes.hidden_size, sizes.head_dim_of(layer), sizes.keys_from(layer) == layer
        mixed, keys = sizes.head_count * head_dim, sizes.kv_heads_of(layer) * head_dim
        queries = 2 * mixed if architecture.attention_gated else mixed
        fused = architecture.qkv_fused == "always" or block + "attn_qkv.weight" in self.present
        if fused:  # llama.cpp looks for that one first
            borders = (queries, queries + keys)
            whole = (queries + 2 * keys, hidden)
            qkv = _matrices(block + "attn_qkv", shape=whole, bias=architecture.qkv_bias, borders=borders)
        else:
            rows = {"q": queries}
            if owner:
                rows["k"] = keys
            if owner and not (architecture.layers_differ and block + "attn_v.weight" not in self.present):
                rows["v"] = keys  # else keys are values
            bias = architecture.qkv_bias
            parts = (MatrixSlot(f"{block}attn_{part}", (rows[part], hidden), bias) for part in rows)
            qkv = ProjectionSlot(tuple(parts))
        kind = architecture.norm_of_queries_and_keys
        normed_queries, normed_keys = (head_dim,) * 2 if kind == "head" else (mixed, keys)
        return AttentionLayout(
            qkv=qkv,
            query_norm=None if kind == "none" else self.norm(block + "attn_q_norm", normed_queries),
            key_norm=None if kind == "none" or not owner else self.norm(block + "attn_k_norm", normed_keys),
            sinks=VectorSlot(block + "attn_sinks.weight", (sizes.head_count,))
            if architecture.attention_sinks
            else None,
            output=_matrices(block + "attn_output", shape=(hidden, mixed), bias=architecture.attention_output_bias),
        )

    def other_mixer(self, block: str, sizes: RecurrentParameters) -> OtherMixer:
        kind = self.architecture.other_mixer
        if kind == "state space":
            return self.state_space(block, sizes)
        return self.delta_net(block, sizes) if kind == "delta net" else self.convolution(block, sizes)

    def state_space(self, block: str, sizes: RecurrentParameters) -> StateSpace[ProjectionSlot, VectorSlot]:
        hidden, inner, channels, heads = self.dimensions.hidden_size, sizes.inner_size, sizes.channels, sizes.heads
        whole = (inner + channels + heads, hidden)
        block += "ssm_"
        return StateSpace(
            input=_matrices(block + "in", shape=whole, borders=(inner, inner + channels)),
            kernel=VectorSlot(block + "conv1d.weight", (channels, sizes.convolution_length)),
            kernel_bias=VectorSlot(block + "conv1d.bias", (channels,), False),
            step_bias=VectorSlot(block + "dt.bias", (heads,)),
            decay=VectorSlot(block + "a", (heads, 1)),
            skip=VectorSlot(block + "d", (heads, 1)),
            norm=VectorSlot(block + "norm.weight", (sizes.groups, inner // sizes.groups)),
            output=_matrices(block + "out", shape=(hidden, inner)),
        )

    def delta_net(self, block: str, sizes: RecurrentParameters) -> DeltaNet[ProjectionSlot, VectorSlot]:
        hidden, inner, channels, heads = self.dimensions.hidden_size, sizes.inner_size, sizes.channels, sizes.heads
        return DeltaNet(
            channels=_matrices(block + "attn_qkv", shape=(channels, hidden)),
            gate=_matrices(block + "attn_gate", shape=(inner, hidden)),
            alpha=_matrices(block + "ssm_alpha", shape=(heads, hidden)),
            beta=_matrices(block + "ssm_beta", shape=(heads, hidden)),
            kernel=VectorSlot(block + "ssm_conv1d.weight", (channels, sizes.convolution_length)),
            step_bias=VectorSlot(block + "ssm_dt.bias", (heads,)),
            decay=VectorSlot(block + "ssm_a", (heads,)),
            norm=VectorSlot(block + "ssm_norm.weight", (sizes.state_size,)),
            output=_matrices(block + "ssm_out", shape=(hidden, inner)),
        )

    def convolution(self, block: str, sizes: RecurrentParameters) -> Convolution[ProjectionSlot, VectorSlot]:
        hidden = self.dimensions.hidden_size
        block += "shortconv."
        return Convolution(
            gates=_matrices(block + "in_proj", shape=(3 * hidden, hidden), borders=(hidden, 2 * hidden)),
            kernel=VectorSlot(block + "conv.weight", (hidden, sizes.convolution_length)),
            output=_matrices(block + "out_proj", shape=(hidden, hidden)),
        )

    def feed_forward(self, block: str, layer: int) -> AnyFeedForward:
        kind, bias, sizes = self.architecture.feed_forward, self.architecture.feed_forward_bias, self.dimensions
        hidden, ffn, experts = sizes.hidden_size, sizes.ffn_of(layer), sizes.experts
        if kind == "experts" and experts is not None and layer >= experts.dense_layers:
            return self.routed(block, experts)
        if kind == "gate and up fused":
            up = _matrices(block + "ffn_up", shape=(2 * ffn, hidden), bias=bias, borders=(ffn,))
        else:
            names = ("ffn_up",) if kind == "plain" else ("ffn_gate", "ffn_up")
            up = _matrices(*(block + name for name in names), shape=(ffn, hidden), bias=bias)
        dense = FeedForward(up, _matrices(block + "ffn_down", shape=(hidden, ffn), bias=bias))
        if self.architecture.experts_beside and experts is not None:
            return self.experts_beside(block, dense, experts)
        return dense

    def experts_beside(
        self, block: str, dense: FeedForward[ProjectionSlot], experts: ExpertParameters
    ) -> ExpertsBeside[ProjectionSlot, NormSlot, VectorSlot]:
        hidden = self.dimensions.hidden_size
        return ExpertsBeside(
            dense=dense,
            dense_norm=self.norm(block + "post_ffw_norm_1", hidden),
            experts_norm=self.norm(block + "pre_ffw_norm_2", hidden),
            router_scale=VectorSlot(block + "ffn_gate_inp.scale", (hidden,)),
            experts=self.routed(block, experts),
            mixed_norm=self.norm(block + "post_ffw_norm_2", hidden),
        )

    def routed(self, block: str, sizes: ExpertParameters) -> Experts[ProjectionSlot, VectorSlot]:
        architecture, count, hidden = self.architecture, sizes.count, self.dimensions.hidden_size
        router = (count, hidden)
        biased = architecture.expert_choice_biased
        return Experts(
            router=_matrices(block + "ffn_gate_inp", shape=router, bias=architecture.expert_bias),
            choice_bias=VectorSlot(block + "exp_probs_b.bias", (count,)) if biased else None,
            experts=tuple(self.expert(block, index, sizes) for index in range(self.most_experts or count)),
            output_scales=VectorSlot(block + "ffn_down_exps.scale", (count,), False)
            if architecture.experts_beside
            else None,
            shared=self.shared_expert(block, sizes.shared_ffn_size) if sizes.shared_ffn_size else None,
            shared_gate=_matrices(block + "ffn_gate_inp_shexp", shape=(1, hidden))
            if architecture.shared_expert == "gated"
            else None,
        )

    def shared_expert(self, block: str, ffn: int) -> FeedForward[ProjectionSlot]:
        hidden = self.dimensions.hidden_size
        up = _matrices(block + "ffn_gate_shexp", block + "ffn_up_shexp", shape=(ffn, hidden))
        return FeedForward(up, _matrices(block + "ffn_down_shexp", shape=(hidden, ffn)))

    def expert(self, block: str, index: int, sizes: ExpertParameters) -> FeedForward[ProjectionSlot]:
        hidden, ffn = self.dimensions.hidden_size, sizes.ffn_size
        wide, narrow = (ffn, hidden), (hidden, ffn)

        def one(name: str, shape: tuple[int, int]) -> MatrixSlot:
            bias = self.architecture.expert_bias
            return MatrixSlot(f"{block}ffn_{name}_exps", shape, bias, count=sizes.count, index=index)

        if self.architecture.experts_fused == "possible" and f"{block}ffn_gate_up_exps.weight" in self.present:
            both = one("gate_up", (2 * ffn, hidden))
            return FeedForward(ProjectionSlot((both,), (ffn,)), ProjectionSlot((one("down", narrow),)))
        return FeedForward(ProjectionSlot((one("gate", wide), one("up", wide))), ProjectionSlot((one("down", narrow),)))

    def norm(self, name: str, size: int) -> NormSlot:
        return NormSlot(name, size, self.architecture.norm_weight, self.architecture.norm_bias)


def _matrices(
    *names: str, shape: tuple[int, int], bias: Presence = ABSENT, borders: tuple[int, ...] = ()
) -> ProjectionSlot:
    return ProjectionSlot(tuple(MatrixSlot(name, shape, bias=bias) for name in names), borders)
