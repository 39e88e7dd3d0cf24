import subprocess
import sys

SCRIPT = """
import torch
from worldmodels.ops import bins, categorical, returns

support = bins.symexp_bins()


def losses(logits, reward, value, cont):
    post = categorical.unimix(logits)
    draws = categorical.straight_through(post.exp())
    target = returns.lambda_return(reward, value, cont, discount=0.99, lam=0.95)
    advantage = returns.gae(reward, value, cont, discount=0.99, lam=0.95)
    loss, _ = categorical.balanced_kl(post, categorical.unimix(draws))
    flat = logits.flatten(-2)
    critic = bins.two_hot_loss(flat, target, support) + bins.expectation(flat, support)
    return loss.sum() + critic.sum() + advantage.sum()


compiled = torch.compile(losses, fullgraph=True, backend="eager")
data = torch.randn(2, 5, 15, 17), torch.randn(2, 5), torch.randn(2, 6), torch.ones(2, 5)
torch.manual_seed(0)
eager = losses(*data)
torch.manual_seed(0)
torch.testing.assert_close(compiled(*data), eager)
"""


def test_the_ops_of_a_loss_compile_to_one_graph():
    # Elsewhere than in this process, for the shape checker that tests install does not compile.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
