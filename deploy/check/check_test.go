// Package check reads the files of deploy/ with the parsers of the programs that
// will run them. It is a module of its own, so that nothing of Kubernetes or
// Docker is among the dependencies of Switchhook; the test of test/deploy runs it.
package check

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDockerfile(t *testing.T) {
	parsed, err := parser.Parse(bytes.NewReader(read(t, "Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	warn := func(rule, description, _, message string, at []parser.Range) {
		t.Errorf("line %d: %s: %s (%s)", at[0].Start.Line, rule, message, description)
	}
	stages, _, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{Warn: warn}))
	if err != nil {
		t.Fatal(err)
	}
	last := stages[len(stages)-1]
	if last.BaseName != "scratch" {
		t.Errorf("the image is built on %s, want scratch", last.BaseName)
	}
	var user, entry, health string
	for _, c := range last.Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.EntrypointCommand:
			entry = strings.Join(c.CmdLine, " ")
			if c.PrependShell {
				t.Error("ENTRYPOINT asks for a shell, which the image has not")
			}
		case *instructions.HealthCheckCommand:
			health = strings.Join(c.Health.Test, " ")
		case *instructions.RunCommand:
			t.Error("RUN asks for a shell, which the image has not")
		}
	}
	if user != "65532:65532" || entry != "/switchhook" || health != "CMD /switchhook healthcheck" {
		t.Errorf("user %q, entry point %q, health check %q", user, entry, health)
	}
}

// project reads compose files, as `docker compose -f … -f … config` does.
func project(t *testing.T, files ...string) *types.Project {
	t.Helper()
	for i := range files {
		files[i] = filepath.Join("..", files[i])
	}
	o, err := cli.NewProjectOptions(files, cli.WithEnv([]string{"POSTGRES_PASSWORD=pw", "SWITCHHOOK_API_KEY=sk_0123456789abcdef", "SWITCHHOOK_SECRET_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range p.Services {
		if s.HealthCheck == nil {
			t.Errorf("%s has no health check", name)
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil {
					t.Error(err)
				}
			}
		}
	}
	return p
}

func TestCompose(t *testing.T) {
	p := project(t, "compose.yaml")
	s := p.Services["switchhook"]
	if s.DependsOn["postgres"].Condition != types.ServiceConditionHealthy {
		t.Error("the server does not wait for PostgreSQL")
	}
	if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" {
		t.Errorf("ports %v", s.Ports)
	}
	if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
}

func TestComposeNodes(t *testing.T) {
	p := project(t, "compose.yaml", "compose.nodes.yaml")
	balancer := p.Services["balancer"]
	for _, name := range []string{"switchhook", "switchhook2", "switchhook3"} {
		s, ok := p.Services[name]
		if !ok {
			t.Fatalf("no service %s", name)
		}
		if len(s.Ports) != 0 {
			t.Errorf("%s has ports of its own: %v", name, s.Ports)
		}
		if s.Environment["SWITCHHOOK_DATABASE"] == nil || *s.Environment["SWITCHHOOK_DATABASE"] != *p.Services["switchhook"].Environment["SWITCHHOOK_DATABASE"] {
			t.Errorf("%s is on another database", name)
		}
		if balancer.DependsOn[name].Condition != types.ServiceConditionHealthy {
			t.Errorf("the balancer does not wait for %s", name)
		}
		if !bytes.Contains(read(t, "haproxy.cfg"), []byte(" "+name+":8080\n")) {
			t.Errorf("haproxy.cfg does not name %s", name)
		}
	}
}

// kinds are what a manifest may hold.
var kinds = map[string]func() any{
	"v1 Namespace":                           func() any { return &corev1.Namespace{} },
	"v1 ConfigMap":                           func() any { return &corev1.ConfigMap{} },
	"v1 Secret":                              func() any { return &corev1.Secret{} },
	"v1 Service":                             func() any { return &corev1.Service{} },
	"apps/v1 Deployment":                     func() any { return &appsv1.Deployment{} },
	"apps/v1 StatefulSet":                    func() any { return &appsv1.StatefulSet{} },
	"policy/v1 PodDisruptionBudget":          func() any { return &policyv1.PodDisruptionBudget{} },
	"autoscaling/v2 HorizontalPodAutoscaler": func() any { return &autoscalingv2.HorizontalPodAutoscaler{} },
}

// kustomization is what of kustomize's own file is used.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Namespace  string   `json:"namespace"`
	Resources  []string `json:"resources"`
	Images     []struct {
		Name   string `json:"name"`
		NewTag string `json:"newTag"`
	} `json:"images"`
}

// manifests decodes every manifest strictly: a field that Kubernetes does not
// know is a fault.
func manifests(t *testing.T) (objects []any, files map[string]bool) {
	t.Helper()
	names, err := filepath.Glob("../kubernetes/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	files = map[string]bool{}
	for _, name := range names {
		files[filepath.Base(name)] = true
		if filepath.Base(name) == "kustomization.yaml" {
			continue
		}
		for _, doc := range bytes.Split(read(t, filepath.Join("kubernetes", filepath.Base(name))), []byte("\n---\n")) {
			var head metav1.TypeMeta
			if err := yaml.Unmarshal(doc, &head); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			make, ok := kinds[head.APIVersion+" "+head.Kind]
			if !ok {
				t.Fatalf("%s: unknown %s %s", name, head.APIVersion, head.Kind)
			}
			o := make()
			if err := yaml.UnmarshalStrict(doc, o, yaml.DisallowUnknownFields); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			objects = append(objects, o)
		}
	}
	return objects, files
}

func TestKubernetes(t *testing.T) {
	objects, files := manifests(t)
	var k kustomization
	if err := yaml.UnmarshalStrict(read(t, "kubernetes/kustomization.yaml"), &k); err != nil {
		t.Fatal(err)
	}
	for _, r := range k.Resources {
		if !files[r] {
			t.Errorf("kustomization.yaml names %s, which is not there", r)
		}
	}
	pods := map[string]labels.Set{}
	configs := map[string]bool{}
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			pods[o.Name] = o.Spec.Template.Labels
			checkSelector(t, o.Name, o.Spec.Selector, o.Spec.Template.Labels)
			checkPod(t, o.Name, &o.Spec.Template.Spec)
			if u := o.Spec.Strategy.RollingUpdate; u == nil || u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() < 1 {
				t.Errorf("%s: a rolling update takes nodes away first", o.Name)
			}
			if *o.Spec.Replicas != 3 {
				t.Errorf("%s: %d replicas", o.Name, *o.Spec.Replicas)
			}
		case *appsv1.StatefulSet:
			pods[o.Name] = o.Spec.Template.Labels
			checkSelector(t, o.Name, o.Spec.Selector, o.Spec.Template.Labels)
			checkPod(t, o.Name, &o.Spec.Template.Spec)
			if *o.Spec.Replicas != 1 || len(o.Spec.VolumeClaimTemplates) != 1 {
				t.Errorf("%s: SQLite has one node and one volume", o.Name)
			}
		case *corev1.ConfigMap:
			configs[o.Name] = true
		case *corev1.Secret:
			configs["secret "+o.Name] = true
		}
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			if set, ok := pods[o.Name]; !ok || !labels.SelectorFromSet(o.Spec.Selector).Matches(set) {
				t.Errorf("service %s finds no pods", o.Name)
			}
		case *policyv1.PodDisruptionBudget:
			checkSelector(t, "budget "+o.Name, o.Spec.Selector, pods[o.Name])
		case *autoscalingv2.HorizontalPodAutoscaler:
			if _, ok := pods[o.Spec.ScaleTargetRef.Name]; !ok {
				t.Errorf("autoscaler %s scales nothing", o.Name)
			}
		case *appsv1.Deployment:
			for _, from := range o.Spec.Template.Spec.Containers[0].EnvFrom {
				if from.ConfigMapRef != nil && !configs[from.ConfigMapRef.Name] || from.SecretRef != nil && !configs["secret "+from.SecretRef.Name] {
					t.Errorf("%s takes its environment from what is not there: %v", o.Name, from)
				}
			}
		}
	}
}

func checkSelector(t *testing.T, name string, selector *metav1.LabelSelector, set labels.Set) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	if s.Empty() || !s.Matches(set) {
		t.Errorf("%s: its selector does not match its pods", name)
	}
}

// checkPod checks what every pod must have: probes, few rights, limits.
func checkPod(t *testing.T, name string, p *corev1.PodSpec) {
	t.Helper()
	c := p.Containers[0]
	for _, probe := range []struct {
		name, path string
		is         *corev1.Probe
	}{{"startup", "/healthz", c.StartupProbe}, {"liveness", "/healthz", c.LivenessProbe}, {"readiness", "/readyz", c.ReadinessProbe}} {
		if probe.is == nil || probe.is.HTTPGet == nil || probe.is.HTTPGet.Path != probe.path || probe.is.HTTPGet.Port.StrVal != c.Ports[0].Name {
			t.Errorf("%s: its %s probe does not ask %s", name, probe.name, probe.path)
		}
	}
	s := c.SecurityContext
	if !*p.SecurityContext.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Contains(s.Capabilities.Drop, "ALL") {
		t.Errorf("%s: too many rights", name)
	}
	if p.SecurityContext.SeccompProfile == nil || p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
		t.Errorf("%s: no seccomp profile, or a token that nobody needs", name)
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		t.Errorf("%s: no limit of memory, or no request of CPU", name)
	}
	// A stop waits 30 s for attempts in flight, after the pause before it.
	if *p.TerminationGracePeriodSeconds < 40 {
		t.Errorf("%s: is killed before its attempts in flight can finish", name)
	}
}
