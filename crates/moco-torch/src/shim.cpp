// What tch lacks of LibTorch. Every function that can fail returns null, or the words of the failure,
// which the caller frees. Tensors are borrowed, but for those written to `results`, which the caller owns.

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/version.h>

#include <cstring>
#include <exception>
#include <vector>

using at::Tensor;
using List = std::vector<Tensor>;

static List list(Tensor **items, size_t n) {
  List all;
  all.reserve(n);
  for (size_t i = 0; i < n; ++i) all.push_back(*items[i]);
  return all;
}

#define GUARDED(...)                                                  \
  try {                                                               \
    __VA_ARGS__ return nullptr;                                       \
  } catch (const c10::Error &e) {                                     \
    return strdup(e.what_without_backtrace());                        \
  } catch (const std::exception &e) {                                 \
    return strdup(e.what());                                          \
  }

extern "C" {

// results[i] = sum over o of d_outs[o]^T (d outs[o] / d inputs[i]), or null where no path leads there.
char *moco_torch_vjp(Tensor **outs, Tensor **d_outs, size_t n_outs, Tensor **inputs, size_t n,
                     Tensor **results) {
  GUARDED(
    auto grads = torch::autograd::grad(list(outs, n_outs), list(inputs, n), list(d_outs, n_outs),
                                       /*retain_graph=*/false, /*create_graph=*/false,
                                       /*allow_unused=*/true);
    for (size_t i = 0; i < n; ++i) results[i] = grads[i].defined() ? new Tensor(grads[i]) : nullptr;
  )
}

// theta <- theta + weight * (target - theta)
char *moco_torch_average(Tensor **theta, Tensor **target, size_t n, double weight) {
  GUARDED(
    at::NoGradGuard no_grad;
    auto thetas = list(theta, n);
    at::_foreach_lerp_(thetas, list(target, n), weight);
  )
}

// torch.optim.SGD with its buffers already there.
char *moco_torch_sgd(Tensor **p, Tensor **g, Tensor **v, size_t n, double lr, double momentum,
                     double decay, bool nesterov) {
  GUARDED(
    at::NoGradGuard no_grad;
    auto ps = list(p, n), gs = list(g, n), vs = list(v, n);
    at::_fused_sgd_(ps, gs, vs, decay, momentum, lr, /*dampening=*/0.0, nesterov,
                    /*maximize=*/false, /*is_first_step=*/false, c10::nullopt, c10::nullopt);
  )
}

// torch.optim.AdamW, or Adam where not decoupled; steps[i] is an f32 scalar that counts this update too.
char *moco_torch_adam(Tensor **p, Tensor **g, Tensor **m, Tensor **s, Tensor **steps, size_t n,
                      double lr, double beta1, double beta2, double decay, double eps,
                      bool decoupled) {
  GUARDED(
    at::NoGradGuard no_grad;
    auto ps = list(p, n), gs = list(g, n), ms = list(m, n), ss = list(s, n), ts = list(steps, n);
    List none;
    if (decoupled) {
      at::_fused_adamw_(ps, gs, ms, ss, none, ts, lr, beta1, beta2, decay, eps, /*amsgrad=*/false,
                        /*maximize=*/false, c10::nullopt, c10::nullopt);
    } else {
      at::_fused_adam_(ps, gs, ms, ss, none, ts, lr, beta1, beta2, decay, eps, /*amsgrad=*/false,
                       /*maximize=*/false, c10::nullopt, c10::nullopt);
    }
  )
}

// The Euclidean lengths of all tensors, [n].
static Tensor lengths(const List &items) { return at::stack(at::_foreach_norm(items, 2)); }

// LARS: each tensor's gradient with its decay, scaled by trust |p| / length, then a velocity.
// `sum`: the length is |g| + decay |p| + eps, and what has no gradient stays; else |g + decay p|.
// `limited`: the adapted rate is at most lr. `rate_inside`: the velocity holds the rate.
char *moco_torch_lars(Tensor **p, Tensor **g, Tensor **v, size_t n, double lr, double momentum,
                      double decay, double trust, double eps, bool adapted, bool sum, bool limited,
                      bool rate_inside) {
  GUARDED(
    at::NoGradGuard no_grad;
    auto ps = list(p, n), gs = list(g, n), vs = list(v, n);
    if (adapted) {
      auto decayed = at::_foreach_add(gs, ps, decay);
      auto weight = lengths(ps);
      Tensor ratio;
      if (sum) {
        auto gradient = lengths(gs);
        ratio = weight * trust / (gradient + weight * decay + eps);
        if (limited) ratio = (ratio / lr).clamp_max(1.0);
        ratio = at::where(gradient == 0, at::zeros_like(ratio), ratio);
      } else {
        auto update = lengths(decayed);
        ratio = weight * trust / update;
        if (limited) ratio = (ratio / lr).clamp_max(1.0);
        ratio = at::where(update == 0, at::ones_like(ratio), ratio);
      }
      ratio = at::where(weight == 0, at::ones_like(ratio), ratio);
      at::_foreach_mul_(decayed, ratio.unbind());
      gs = decayed;
    }
    at::_foreach_mul_(vs, momentum);
    at::_foreach_add_(vs, gs, rate_inside ? lr : 1.0);
    at::_foreach_sub_(ps, vs, rate_inside ? 1.0 : lr);
  )
}

// g <- g * factor, all of them; *found, a scalar, becomes 1 where any value is not finite.
char *moco_torch_unscale(Tensor **g, size_t n, double factor, Tensor **found) {
  GUARDED(
    at::NoGradGuard no_grad;
    auto gs = list(g, n);
    auto options = gs[0].options().dtype(at::kFloat);
    auto seen = at::zeros({1}, options);
    at::_amp_foreach_non_finite_check_and_unscale_(gs, seen, at::full({1}, factor, options));
    *found = new Tensor(seen);
  )
}

// From now on, on this thread: convolutions and products on `device` in `dtype`; -1 for as they come.
char *moco_torch_autocast(int device, int dtype) {
  GUARDED(
    auto type = static_cast<at::DeviceType>(device);
    if (dtype >= 0) at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(dtype));
    at::autocast::set_autocast_enabled(type, dtype >= 0);
    // The cache holds casts of leaves that require a gradient until the outermost autocast ends.
    at::autocast::set_autocast_cache_enabled(false);
  )
}

// Of this process: whether f32 products and convolutions may round their operands to TF32.
char *moco_torch_allow_tf32(bool allow) {
  GUARDED(
    at::globalContext().setAllowTF32CuBLAS(allow);
    at::globalContext().setAllowTF32CuDNN(allow);
  )
}

// The values, row by row, on a GPU by way of pinned memory: the host is done when they lie there, and the
// GPU fetches them when it comes to it. LibTorch does not give that memory away before.
char *moco_torch_to_gpu(const float *values, const int64_t *sizes, size_t n, int index,
                        Tensor **result) {
  GUARDED(
    auto host = at::from_blob(const_cast<float *>(values), at::IntArrayRef(sizes, n), at::kFloat);
    auto gpu = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    *result = new Tensor(host.pin_memory().to(gpu, at::kFloat, /*non_blocking=*/true));
  )
}

const char *moco_torch_version() { return TORCH_VERSION; }

// 1 where the tensor, [N, C, H, W], lies in memory as [N, H, W, C].
int moco_torch_channels_last(Tensor *t) {
  return t->dim() == 4 && t->is_contiguous(at::MemoryFormat::ChannelsLast);
}

// Bytes that tensors hold on a GPU, now and at most since the last reset.
char *moco_torch_gpu_bytes(int index, size_t *now, size_t *peak) {
  GUARDED(
    auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(index);
    *now = stats.allocated_bytes[0].current;
    *peak = stats.allocated_bytes[0].peak;
  )
}

char *moco_torch_reset_peak(int index) {
  GUARDED(c10::getDeviceAllocator(at::kCUDA)->resetPeakStats(index);)
}

// Bytes of a GPU's memory that are free, and all of them, as `info`, the runtime's cudaMemGetInfo or
// hipMemGetInfo, tells; its status.
char *moco_torch_gpu_room(int index, int (*info)(size_t *, size_t *), size_t *free, size_t *total,
                          int *status) {
  GUARDED(
    c10::DeviceGuard guard(at::Device(at::kCUDA, index));
    *status = info(free, total);
  )
}

}  // extern "C"
