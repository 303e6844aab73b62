package endtoend

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The vendor's TypeScript SDK, unchanged but for its base URL. `npm ci` in
// test/sdk installs it; CI does so, and then does not let this test be skipped.
func TestTheVendorsSDKWorks(t *testing.T) {
	dir := filepath.Join("..", "sdk")
	_, err := os.Stat(filepath.Join(dir, "node_modules", "agentphone"))
	if err != nil && os.Getenv("SWITCHHOOK_REQUIRE_ALL") == "" {
		t.Skip("left out: the vendor's SDK is not installed (npm ci --prefix test/sdk)")
	}
	w := newWorld(t, later)
	cmd := exec.CommandContext(t.Context(), "node", "sdk.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SWITCHHOOK_URL="+w.url, "SWITCHHOOK_API_KEY="+w.key)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
