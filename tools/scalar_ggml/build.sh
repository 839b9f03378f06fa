#!/bin/sh
# Build llama.cpp with the scalar kernels that the numeric profile `ggml32` describes, as a second opinion for tests.
#
#   pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36 && tar xzf llama_cpp_python-*.tar.gz
#   tools/scalar_ggml/build.sh llama_cpp_python-0.3.36/vendor/llama.cpp /tmp/scalar-ggml
#   REFRUNTIME_SCALAR_GGML=/tmp/scalar-ggml/bin python -m pytest -m '' tests/second_opinion/test_ggml32_library.py
#
# Nothing of the result belongs into the project. What makes the kernels scalar:
# - a processor that ggml has no code for, so that it takes its generic functions (GGML_CPU_GENERIC);
# - no __SSE2__: it is part of x86-64, and ggml's vec.cpp would take exp, SiLU and softmax from four-lane polynomials.
#   Without it they call the C library, as a build for plain WebAssembly does;
# - no OpenMP, llamafile, BLAS, repacked weights; no fused multiply-add (-ffp-contract=off).
set -eu
source=$1 build=$2
flags="-U__SSE2__ -ffp-contract=off -w"
cmake -S "$source" -B "$build" -G "${GENERATOR:-Ninja}" \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=none -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
    -DCMAKE_C_FLAGS_RELEASE="-O2 -DNDEBUG" -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
    -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_CPU_REPACK=OFF -DGGML_BLAS=OFF -DGGML_CCACHE=OFF \
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF
cmake --build "$build" -j"${JOBS:-1}" --target ggml-cpu
cmake --build "$build" -j"${JOBS:-1}" --target llama
