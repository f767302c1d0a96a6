"""What the chat templates of chat_templates.py are rendered with: conversations; and expressions, each a template of its own."""

import itertools

CONTENTS = [
    "Hello",
    "",
    "  spaces on both sides\n\n",
    "\u00a0\u3000\u001f no-break, ideographic and a separator \u2003",
    "<|im_end|> {{ messages }} {% raw %} \\n",
    "Привет, 你好 👍🏽\r\n\ttabs",
    "<think>\nso\n</think>\n\nyes",
]


def conversations(n_each=3, first=0):
    """Every way that one to four messages take turns, with and without a system message, contents in turn from the `first` on."""
    contents = itertools.islice(itertools.cycle(CONTENTS), first, None)
    shapes = [["user"] + ["assistant", "user"] * n for n in range(3)]
    shapes += [["system"] + shape for shape in shapes]
    shapes += [["system"], ["assistant"], ["user", "user"], ["user", "assistant"], ["user", "system", "user"], ["system", "system", "assistant"]]
    for shape in shapes:
        for _ in range(n_each):
            yield [{"role": role, "content": next(contents)} for role in shape]


# Expressions, one a line, each of them rendered alone: what Python makes of values.
EXPRESSIONS = """
1+2*3
7//2
-7//2
-7%3
7%-3
7/2
2**10
2**-1
1.5*2
1e3
1.0
0.1+0.2
1e16
1e-5
123456789.125
7.0//2
-7.5%2
1_000
true
none
[1,'a',2.5,none,true]
(1,)
()
1,2
{'a':1,'b':[2]}
'a' ~ 1 ~ none ~ [1]
'ab'*3
[1]*3
[1]+[2]
'x'+'y'
1 < 2
1 < 2 < 3
3 > 2 > 2
1 == 1.0
true == 1
'a' < 'b'
[1,2] < [1,3]
'a' in 'abc'
1 in [1]
1 not in [1]
'role' in messages[0]
'x' in messages[0]
not true
not not ''
1 if true else 2
1 if false
1 if false else 2 if false else 3
'' or 'x'
0 and 1
none or 'y'
messages[0].role
messages[0]['role']
messages[-1].content
messages|length
messages[0]|length
messages[1:]|length
messages[::-1][0].role
messages[-1:][0].role
messages[:-1]|length
messages[1:-1][0].role
'hello'[1:3]
'hello'[::-1]
'hello'[-2]
'hello'[10]
'hello'[::2]
'hello'[3:1]
'hello'[-100:100]
'hello'[4:0:-2]
'é中x'[1]
'é中x'[1:]
[1,2,3][1:]
[1,2,3][::-1]
[1,2,3][5:]
[1,2,3][-2:]
[1,2,3][::-2]
(1,2,3)[1:]
'a,b'.split(',')
' a  b '.split()
'a b c'.split(' ',1)
' a b  c '.split(none,1)
'a b c'.rsplit(' ',1)
' a b  c '.rsplit(none,1)
''.split()
''.split(',')
'abc'.upper()
'ABC'.lower()
'straße'.upper()
'ΑΣ ΑΣ'.lower()
'İ'.lower()
'abc def'.title()
"they're bill's".title()
'abc dEF'.capitalize()
' x '.strip()
'xxaxx'.strip('x')
'xxa'.lstrip('x')
'axx'.rstrip('x')
'abc'.startswith('a')
'abc'.startswith(('x','a'))
'abc'.endswith('c')
'abc'.replace('b','X')
'aaa'.replace('a','b',2)
'abc'.replace('','-')
'abc'.replace('','-',2)
'abc'.find('c')
'é中c'.find('c')
'abc'.find('z')
'abcabc'.rfind('b')
'abc'.index('b')
'abc'.index('z')
'abca'.count('a')
','.join(['a','b'])
'abc'.isdigit()
'123'.isdigit()
'aB1'.isalnum()
'ab'.isalpha()
' \\t'.isspace()
'Ab'.isupper()
'AB1'.isupper()
'a\\nb\\r\\nc'.splitlines()
'a\\nb\\n'.splitlines(true)
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'a'.rpartition('=')
'abc'.removeprefix('a')
'abc'.removesuffix('c')
{'a':1}.get('a')
{'a':1}.get('b')
{'a':1}.get('b',3)
{'a':1}.items()|list
{'a':1}.keys()|list
{'a':1}.values()|list
{'a':1}.keys()|length
{'a':1,'b':2}|items|list
{'b':1,'a':2}|dictsort
{'b':1,'a':2}|dictsort(by='value')
{'b':1,'a':2}|dictsort(reverse=true)
messages[0]|tojson
messages|tojson
{'a':[1,{'b':none}]}|tojson
{'a':[1,{'b':none}]}|tojson(indent=2)
{'a':[]}|tojson(indent=4)
{}|tojson(indent=4)
'é"\\n</x>'|tojson
'é👍'|tojson(ensure_ascii=true)
[1.0,1e20,true]|tojson
{'b':1,'a':2}|tojson(sort_keys=true)
{1:2,none:3}|tojson
[1,2]|tojson(separators=(',',':'))
[1,2]|tojson(indent=2, separators=(',',':'))
'\\x7f\\x1f\\b'|tojson
x|tojson
' a '|trim
'xax'|trim('x')
x|trim
'abc'|upper
'hello world'|title
'hello-world (foo) {bar} [baz'|title
'hello WORLD'|capitalize
'aXb'|replace('X','-')
'a1a1'|replace('a','b',1)
12|replace(1,2)
[1,2,3]|first
[1,2,3]|last
[]|first
''|last
'abc'|first
'abc'|last
[3,1,2]|sort
[3,1,2]|sort(reverse=true)
['b','A','c']|sort
['b','A','c','a']|sort
['b','A','c']|sort(case_sensitive=true)
messages|sort(attribute='role')|map(attribute='content')|list
[1,1,2]|unique|list
['a','A']|unique|list
['a','A']|unique(true)|list
[1,2,3]|join('-')
['a',1,none]|join
messages|join(',', attribute='role')
'abc'|join('-')
messages|map(attribute='role')|list
messages|map(attribute='role')|join(',')
['a','b']|map('upper')|list
['a','b']|map('replace','a','z')|list
messages|selectattr('role','equalto','user')|list|length
messages|selectattr('role','==','user')|map(attribute='content')|list
messages|rejectattr('role','eq','user')|map(attribute='content')|list
messages|rejectattr('role','in',['user','system'])|list
[1,2,0]|select|list
[1,2,3]|select('odd')|list
[1,2,3]|reject('gt',1)|list
x|default('d')
''|default('d')
''|default('d',true)
none|d('z')
messages[0].x|default('n')
'3'|int
'3.7'|int
'x'|int
'x'|int(default=7)
3.9|int
' 42 '|int
'1e3'|int
'+5'|int
'+-5'|int
''|int
none|int
[]|int
true|int
'3'|float
'x'|float
3|float
3|string
none|string
'a\\nb\\n\\nc'|indent
'a\\nb'|indent(2,true)
'a\\nb\\n'|indent(2)
'a\\n\\nb'|indent(2,blank=true)
'a\\nb'|indent('> ')
''|indent(2,true)
[1,2,3]|reverse|list
'abc'|reverse
[1,2,3]|sum
[1,2.5]|sum
[1,2,3]|max
[1,2,3]|min
['b','A']|min
[]|max
-3|abs
(-3)|abs
'abc'|list
'abc'|length
'é中'|length
'abc'|count
'<a>'|safe
'<a>'|safe ~ '<b>'
'<a>'|safe|string|length
x is defined
x is undefined
messages is defined
none is none
'a' is string
1 is number
true is number
1.0 is float
1 is integer
true is integer
true is boolean
true is true
1 is true
false is false
[] is sequence
{} is sequence
'' is sequence
1 is sequence
{} is mapping
[] is iterable
1 is iterable
x is iterable
x is sequence
{}.keys() is sequence
'a' is in ['a']
2 is divisibleby 2
3 is odd
3 is even
-3 is odd
1 is eq 1
1 is equalto(1)
2 is gt 1
2 is ge 2
'a' is lower
'A' is upper
none is sameas none
true is sameas true
range(3)|list
range(1,4)|list
range(5,0,-2)|list
range(3)[1]
range(10)[2:4]|list
dict(a=1)
namespace is callable
strftime_now is defined
tools is defined
tools is none
documents
add_generation_prompt
enable_thinking is defined
bos_token
eos_token
pad_token is defined
loop is defined
'a' 'b'
"\\u00e9\\x41\\101\\q"
'a' ~ x ~ 'b'
[x]
x == y
x != 1
x in [1]
1 in x
x + 1
x.y
x['y']
x()
x[0]
x|length
x|list
x|join
x|upper
none == false
0 == false
'' == none
messages == messages
messages[0] == {'role':'system','content':'about x'}
(1,2) == [1,2]
messages[0].x is defined
messages[0].x.y is defined
none.x is defined
'abc'.x is defined
5 .x is defined
[1,2].0
[[1]].0.0
messages.0.role
+3
-(-3)
--3
2 ** 3 ** 2
2*-3
-2|abs
'a'|upper ~ 'b'
'a' ~ 'b'|upper
1 + 2|string
'x' is string and 1 is number
x is not defined
1 is not none
'a' not in 'b'
not 1 in [1]
1 if x is defined else 2
[1,2,]|length
{'a':1,}|length
namespace(a=1).a
namespace(a=1).b is defined
namespace(a=1)['a']
'abc' is not string
1.5|string
1e100
0.00001
100000000000000000.0
12345678901234567
9007199254740993 == 9007199254740992.0
'\\t'|tojson
"it's"|list
["it's", 'a"b', 'a\\'"b', '\\n\\x01é​', '\\\\', '　']
messages|selectattr('content')|list|length
messages|map('length')|list
[[1,2],[3,4]]|map('first')|list
[[1,2],[3]]|map(attribute=0)|list
[{'a':{'b':1}}]|map(attribute='a.b')|list
[{}]|map(attribute='a',default='z')|list
messages|map(attribute='role')|length
messages|map(attribute='role')|first
messages|map(attribute='role')|last
{'a':1}['a']
{'a':1}.a
{'items':1}['items']
{'a':1}['get']('a')
{1:'x'}[1]
{1:'x'}[1.0]
{'a':1,'a':2}
messages[99]
messages['x']
messages[0].pop('role')
messages.append(1)
'a'['upper']()
1/0
1//0
'a' + 1
'a' * 'b'
[1] + (2,)
1 < 'a'
none < 1
none.strip()
5()
[]|tojson
(1,2)|tojson
[(1,'a')]
true + true
true ~ false
[true, false]|sum
10 % 3
10.5 // 3
1 == 1 == 1
1 in [1] in [[true]]
(1 if true)
'a' if x else 'b' if y else 'c'
messages|length > 2 and messages[0].role == 'system'
(messages|selectattr('role','equalto','assistant')|list)[-1].content
messages[0]|items|list
messages[0].items()|list
'a\\\\b'
'tab\\there'
"dq\\"x"
'sq\\'x'
messages is mapping
messages is string
namespace(a=1) is mapping
'a b'.split(' ')[0]
'<think>a</think>b'.split('</think>')[-1].lstrip('\\n')
('x' if true else 'y')|upper
[1,2,3]|select('in',[1,2])|list
messages|selectattr('role','ne','user')|map(attribute='role')|unique|list
messages|selectattr('role', 'defined')|list|length
{}|length
not messages
messages and 'yes'
messages|selectattr('role','equalto','nobody') and 'generator'
(messages|selectattr('role','equalto','nobody')|list) and 'list'
'x'.join('abc')
'abc'[0] == 'a'
'aab'|unique|join
[3,'a']|sort
['é','E','z']|sort
'a'.upper().lower()
'a' ~ ('b' ~ 'c')
1 - 2 - 3
2 - -2
2--2
7 - 3 ~ 'x'
'a' ~ 1 + 2
true and not false
1 or x.y.z
{'a': {'b': [1, 2]}}.a.b[1]
[1,[2,[3]]]
[[]]
{'k': ()}
{(1,2): 3}
{[1]: 2}
1.0 == 1
-0.0
0.0 == -0.0
3.0|int
'inf'|float
1.5e3|int
"a" < "B"
'é' > 'z'
'é' == 'é'
""".strip().splitlines()
