package doctortest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
)

// Site is where code reports a fault: a call of doctor.Failed or doctor.Warned.
type Site struct {
	At     string // file:line
	Status doctor.Status
	// texts are its evidence, meaning and fix: what is literally there, and
	// anything where it is not.
	texts [3]*regexp.Regexp
	said  string
	// Fix is what it says is to be done.
	Fix string
}

// String says where it is and what it says.
func (s Site) String() string { return s.At + ": " + s.said }

// Matches says whether a finding may come from there.
func (s Site) Matches(f doctor.Finding) bool {
	return f.Status == s.Status && s.texts[0].MatchString(f.Evidence) && s.texts[1].MatchString(f.Meaning) && s.texts[2].MatchString(f.Fix)
}

// makers are the functions that make a finding of a fault.
var makers = map[string]doctor.Status{"Failed": doctor.Fail, "Warned": doctor.Warn}

// Sites reads where the files (patterns of filepath.Glob, tests left out) report
// faults.
func Sites(files ...string) ([]Site, error) {
	r := reader{files: token.NewFileSet(), constants: map[string]ast.Expr{}}
	var all []*ast.File
	for _, pattern := range files {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(r.files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			all = append(all, file)
			for _, declaration := range file.Decls {
				if of, ok := declaration.(*ast.GenDecl); ok {
					r.declare(of)
				}
			}
		}
	}
	for _, file := range all {
		for _, declaration := range file.Decls {
			if of, ok := declaration.(*ast.FuncDecl); ok {
				r.function(of)
			}
		}
	}
	if len(r.sites) == 0 {
		return nil, fmt.Errorf("%v report no fault: is that the right place?", files)
	}
	return r.sites, errors.Join(r.wrong...)
}

type reader struct {
	files     *token.FileSet
	constants map[string]ast.Expr // in scope
	sites     []Site
	wrong     []error
}

func (r *reader) declare(of *ast.GenDecl) {
	if of.Tok != token.CONST {
		return
	}
	for _, spec := range of.Specs {
		if values, ok := spec.(*ast.ValueSpec); ok {
			for i, name := range values.Names {
				if i < len(values.Values) {
					r.constants[name.Name] = values.Values[i]
				}
			}
		}
	}
}

func (r *reader) function(of *ast.FuncDecl) {
	outside := maps.Clone(r.constants)
	defer func() { r.constants = outside }()
	ast.Inspect(of, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			r.declare(n)
		case *ast.CallExpr:
			r.call(n)
		}
		return true
	})
}

func (r *reader) call(of *ast.CallExpr) {
	name := ""
	switch f := of.Fun.(type) {
	case *ast.Ident: // in package doctor itself
		name = f.Name
	case *ast.SelectorExpr:
		if pkg, ok := f.X.(*ast.Ident); ok && pkg.Name == "doctor" {
			name = f.Sel.Name
		}
	}
	status, ok := makers[name]
	if !ok || len(of.Args) != 4 {
		return
	}
	position := r.files.Position(of.Pos())
	site := Site{At: fmt.Sprintf("%s:%d", position.Filename, position.Line), Status: status}
	var said []string
	for i, argument := range of.Args[1:] {
		text := r.text(argument)
		site.texts[i] = regexp.MustCompile("(?s)^" + text + "$")
		if text != anything {
			said = append(said, readable(text))
		}
		site.Fix = readable(text)
	}
	if len(said) == 0 {
		r.wrong = append(r.wrong, fmt.Errorf("%s: nothing of its texts is written there, so that it cannot be told from others", site.At))
	}
	site.said = strings.Join(said, " / ")
	r.sites = append(r.sites, site)
}

const anything = ".*"

// text is a regular expression of what an expression of type string can be.
func (r *reader) text(of ast.Expr) string {
	switch e := of.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return regexp.QuoteMeta(s)
		}
	case *ast.ParenExpr:
		return r.text(e.X)
	case *ast.BinaryExpr:
		return r.text(e.X) + r.text(e.Y)
	case *ast.Ident:
		if constant, ok := r.constants[e.Name]; ok {
			return r.text(constant)
		}
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" && len(e.Args) > 0 {
			if format, ok := e.Args[0].(*ast.BasicLit); ok {
				if s, err := strconv.Unquote(format.Value); err == nil {
					return formatted(s)
				}
			}
		}
	}
	return anything
}

var verb = regexp.MustCompile(`%[-+# 0]*[0-9]*(?:\.[0-9]+)?[a-zA-Z%]`)

// formatted is what a format of fmt.Sprintf can become.
func formatted(format string) string {
	var b strings.Builder
	from := 0
	for _, at := range verb.FindAllStringIndex(format, -1) {
		b.WriteString(regexp.QuoteMeta(format[from:at[0]]))
		if format[at[1]-1] == '%' {
			b.WriteString("%")
		} else {
			b.WriteString(anything)
		}
		from = at[1]
	}
	return b.String() + regexp.QuoteMeta(format[from:])
}

var quoted = regexp.MustCompile(`\\(.)`)

// readable is a text for people.
func readable(text string) string {
	return quoted.ReplaceAllString(strings.ReplaceAll(text, anything, "…"), "$1")
}

// Commands are what the texts in files (patterns of filepath.Glob, tests left out)
// tell people to run, between backquotes, by where they stand.
func Commands(files ...string) (map[string][]string, error) {
	found := map[string][]string{}
	set := token.NewFileSet()
	for _, pattern := range files {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						for _, match := range command.FindAllStringSubmatch(text, -1) {
							at := fmt.Sprint(set.Position(literal.Pos()))
							found[at] = append(found[at], match[1])
						}
					}
				}
				return true
			})
		}
	}
	return found, nil
}

var command = regexp.MustCompile("`([a-z][^`]*)`")
